#include "cpu/select.h"

#include <fmt/format.h>

#include "cpu/many_tokens.h"

namespace coppice::cpu {
namespace {

int token_tile(std::int64_t tokens) {
  if (tokens <= 2) return tokens == 2 ? 2 : 1;
  return tokens <= 4 ? 4 : 8;
}

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

// Tokens from which on lanes of tokens beat lanes of rows. Measured on Zen 5 with AVX-512, fp32,
// 4096 x 4096, 2 threads (docs/performance/cpu.md, "Many tokens"): one pass of the few-tokens
// kernels serves 8 tokens of the shared format, and their look-ups of the lane format keep up with
// loads by token until these fill four vectors.
std::int64_t many_tokens_from(WeightFormat format) {
  return format == WeightFormat::shared ? 9 : 65;
}

}  // namespace

KernelChoice select_kernel(const PackedLayout& layout, Dtype dtype, std::int64_t tokens,
                           std::string_view /*target*/) {
  KernelChoice choice;
  choice.format = layout.format;
  choice.window = layout.window;
  choice.dtype = dtype;
  if (tokens >= many_tokens_from(layout.format) && many_tokens_supports(layout)) {
    choice.family = KernelFamily::many_tokens;
  } else {
    choice.token_tile = token_tile(tokens);
  }
  return choice;
}

KernelChoice select_kernel(const Pattern& pattern, const WeightShape& shape, Dtype dtype,
                           std::int64_t tokens, std::string_view target) {
  return select_kernel(packed_layout(Grid(pattern, shape), dtype), dtype, tokens, target);
}

std::string to_string(const KernelChoice& choice) {
  const std::string format =
      choice.format == WeightFormat::shared ? "shared" : fmt::format("window{}", choice.window);
  if (choice.family == KernelFamily::many_tokens)
    return fmt::format("many-tokens/{}/{}", format, short_name(choice.dtype));
  return fmt::format("few-tokens/{}/{}/tile{}", format, short_name(choice.dtype),
                     choice.token_tile);
}

}  // namespace coppice::cpu
