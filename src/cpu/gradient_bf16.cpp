#include <algorithm>

#include "coppice/error.h"
#include "coppice/gradient.h"
#include "cpu/bf16_products.h"
#include "cpu/check_product.h"

namespace coppice {
namespace {

// Whether lists are faster than tiles (docs/performance/cpu-gradients.md): the more so the less is
// kept, of pairs of rows or of weights.
bool lists_pairs(const KeptBits& kept, std::int64_t tokens) {
  constexpr double kFewPairs = 0.3;
  return tokens > (kept.pair_density() < kFewPairs ? 40 : 64);
}
bool lists_weights(const KeptBits& kept, std::int64_t tokens) {
  constexpr double kTokens = 200;  // if all were kept
  return static_cast<double>(tokens) > kTokens * kept.grid().density();
}

const cpu::Bf16Kernels& kernels() {
  const cpu::Bf16Kernels* found = cpu::bf16_kernels();
  if (found == nullptr)
    throw InvalidArgument(
        "gradients in bf16 need a processor with AVX-512 BF16 and VBMI2; convert to float");
  return *found;
}

}  // namespace

Bf16Instructions bf16_instructions() {
  if (cpu::bf16_kernels() == nullptr) return Bf16Instructions::none;
  return cpu::has_bf16_tiles() ? Bf16Instructions::tiles : Bf16Instructions::vectors;
}

void multiply_transposed_bf16(const KeptBits& kept, std::span<const std::uint16_t> values,
                              const BasicActivations<const std::uint16_t>& dy,
                              const BasicActivations<std::uint16_t>& dx, int threads) {
  cpu::check_activations(dx, "dx");
  cpu::check_activations(dy, "dy");
  cpu::check_gradients(kept.grid(), dy.tokens, dy.features, dx.tokens, dx.features, values.size());
  const cpu::Bf16Kernels& with = kernels();
  if (dx.tokens == 0 || dx.features == 0) return;
  const auto multiply = lists_pairs(kept, dx.tokens) ? cpu::multiply_transposed_listed
                                                     : cpu::multiply_transposed_whole;
  multiply(with, kept, values, dy, dx, threads);
}

void sampled_product_bf16(const KeptBits& kept, const BasicActivations<const std::uint16_t>& dy,
                          const BasicActivations<const std::uint16_t>& x,
                          std::span<std::uint16_t> dvalues, int threads) {
  cpu::check_activations(x, "x");
  cpu::check_activations(dy, "dy");
  cpu::check_gradients(kept.grid(), dy.tokens, dy.features, x.tokens, x.features, dvalues.size());
  const cpu::Bf16Kernels& with = kernels();
  if (x.tokens == 0) std::ranges::fill(dvalues, std::uint16_t{0});
  if (x.tokens == 0 || dvalues.empty()) return;
  const auto multiply =
      lists_weights(kept, x.tokens) ? cpu::sampled_product_listed : cpu::sampled_product_whole;
  multiply(with, kept, dy, x, dvalues, threads);
}

}  // namespace coppice
