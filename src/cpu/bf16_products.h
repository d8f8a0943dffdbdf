// The backward products in bf16 for few and for many tokens. Arguments are checked already. Scratch
// memory is kept for the next call of the same thread. Sums are taken in an order that depends on
// the shapes alone.
#pragma once

#include <cstdint>
#include <span>

#include "cpu/bf16_operands.h"

namespace coppice::cpu {

/// By tiles: what is pruned is multiplied, too.
void multiply_transposed_whole(const Bf16Kernels& kernels, const KeptBits& kept,
                               std::span<const std::uint16_t> values, const Bf16Input& dy,
                               const Bf16Output& dx, int threads);
void sampled_product_whole(const Bf16Kernels& kernels, const KeptBits& kept, const Bf16Input& dy,
                           const Bf16Input& x, std::span<std::uint16_t> dvalues, int threads);

/// By lists of what is kept.
void multiply_transposed_listed(const Bf16Kernels& kernels, const KeptBits& kept,
                                std::span<const std::uint16_t> values, const Bf16Input& dy,
                                const Bf16Output& dx, int threads);
void sampled_product_listed(const Bf16Kernels& kernels, const KeptBits& kept, const Bf16Input& dy,
                            const Bf16Input& x, std::span<std::uint16_t> dvalues, int threads);

}  // namespace coppice::cpu
