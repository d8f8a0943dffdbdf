#include "cpu/select.h"

#include <fmt/format.h>

#include "cpu/few_tokens.h"
#include "cpu/many_tokens.h"
#include "cpu/many_tokens_plan.h"

namespace coppice::cpu {
namespace {

std::string_view short_name(Dtype dtype) {
  switch (dtype) {
    case Dtype::f32:
      return "fp32";
    case Dtype::f16:
      return "fp16";
    default:
      return "bf16";
  }
}

// Where lanes of tokens beat lanes of rows. Measured on Zen 4 with AVX-512, fp32, one thread
// (docs/performance/cpu-many-tokens.md, "Few against many tokens").
struct Crossover {
  std::int64_t from;  // tokens from which on many_tokens multiplies
  // Tokens from which on the rest beyond whole strips, if one tile holds it, goes to the few-tokens
  // kernels. The first two strips of choices by row cost nearly the same, because decoding takes
  // most of their time.
  std::int64_t rest_from;
};

Crossover crossover(const PackedLayout& layout) {
  if (layout.format == WeightFormat::shared) return {13, kStripTokens};
  return {layout.list_per_vector ? 17 : 29, 2 * kStripTokens};
}

}  // namespace

int few_tokens_tile(std::int64_t tokens) {
  if (tokens <= 2) return tokens == 2 ? 2 : 1;
  return tokens <= 4 ? 4 : 8;
}

KernelChoice select_kernel(const PackedLayout& layout, Dtype dtype, std::int64_t tokens,
                           std::string_view /*target*/) {
  KernelChoice choice;
  choice.format = layout.format;
  choice.window = layout.window;
  choice.dtype = dtype;
  const Crossover limit = crossover(layout);
  if (tokens < limit.from || !many_tokens_supports(layout)) {
    choice.token_tile = few_tokens_tile(tokens);
    return choice;
  }
  choice.family = KernelFamily::many_tokens;
  const std::int64_t beyond = tokens % kStripTokens;
  const bool has_rest = beyond <= kMaxTokenTile && tokens >= limit.rest_from;
  choice.rest_tokens = has_rest ? static_cast<int>(beyond) : 0;
  choice.token_tile = choice.rest_tokens == 0 ? 0 : few_tokens_tile(choice.rest_tokens);
  return choice;
}

KernelChoice select_kernel(const Pattern& pattern, const WeightShape& shape, Dtype dtype,
                           std::int64_t tokens, std::string_view target) {
  return select_kernel(packed_layout(Grid(pattern, shape), dtype), dtype, tokens, target);
}

bool prefers_lookup(const PackedLayout& layout, std::int64_t tokens) {
  // Measured on Zen 5, one thread (docs/performance/cpu-bf16.md): the kernels for few tokens read
  // lists fast, choices by row less so, and those within a list slowly.
  if (layout.format == WeightFormat::shared) return tokens >= 13;
  return tokens >= (layout.list_per_vector ? 9 : 11);
}

std::string to_string(const KernelChoice& choice) {
  const std::string format =
      choice.format == WeightFormat::shared ? "shared" : fmt::format("window{}", choice.window);
  if (choice.family == KernelFamily::many_tokens)
    return fmt::format("many-tokens/{}/{}{}", format, short_name(choice.dtype),
                       choice.rest_tokens == 0 ? "" : fmt::format("+tile{}", choice.token_tile));
  return fmt::format("few-tokens/{}/{}/tile{}", format, short_name(choice.dtype),
                     choice.token_tile);
}

}  // namespace coppice::cpu
