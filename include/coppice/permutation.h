// Permutations of channels: checked, inverted, composed, applied. The search for those under which
// a pattern keeps more is in permutation_search.h.
//
// A permutation p is a gather: the new channel i is the old channel p[i]. An input permutation
// reorders columns, an output permutation reorders rows. docs/permutation.md says where each can
// go.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "coppice/sparse_matrix.h"

namespace coppice {

/// new[i] = old[p[i]]
using Permutation = std::vector<std::uint32_t>;

Permutation identity_permutation(std::int64_t size);
bool is_identity(std::span<const std::uint32_t> permutation);
/// Throws InvalidArgument, with the first fault of `what`, unless it holds every number below
/// `size` once.
void check_permutation(std::span<const std::uint32_t> permutation, std::int64_t size,
                       std::string_view what = "permutation");
/// compose(inverse(p), p) is the identity. Throws InvalidArgument if `permutation` is none.
Permutation inverse(std::span<const std::uint32_t> permutation);
/// The gather `first` followed by the gather `then`. Throws InvalidArgument if sizes differ.
Permutation compose(std::span<const std::uint32_t> first, std::span<const std::uint32_t> then);

/// out[r, c] = in[r, p[c]], bit for bit. `out` has the shape and dtype of `in` and does not overlap
/// it. Throws InvalidArgument.
void permute_cols(const DenseView& in, std::span<const std::uint32_t> permutation,
                  const MutableDenseView& out, int threads = 1);
/// out[r, c] = in[p[r], c]; the same demands.
void permute_rows(const DenseView& in, std::span<const std::uint32_t> permutation,
                  const MutableDenseView& out, int threads = 1);

}  // namespace coppice
