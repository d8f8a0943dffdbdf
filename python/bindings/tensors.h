// What coppice.torch passes: tensors as addresses, since asking a tensor for its DLPack capsule
// costs more than a small product. Python checks dtype, device and strides.
#pragma once

#include <nanobind/nanobind.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "coppice/gradient.h"
#include "coppice/linear.h"
#include "coppice/sparse_matrix.h"

namespace coppice::python {

/// The canonical arrays of a weight without its values: validated copies.
class Structure {
 public:
  Structure(std::shared_ptr<const Grid> grid, std::vector<std::byte> columns,
            std::vector<std::byte> metadata, std::vector<std::uint32_t> input_permutation,
            int threads);

  const std::shared_ptr<const Grid>& grid() const { return grid_; }
  /// With values that lie elsewhere, [rows, kept] of a dtype.
  SparseView view(Dtype dtype, std::uintptr_t values) const;
  /// Decoded by the first call. Called with the GIL held, which they release.
  const KeptColumns& kept_columns(int threads);
  const KeptBits& kept_bits(int threads);

 private:
  std::shared_ptr<const Grid> grid_;
  std::vector<std::byte> columns_, metadata_;
  std::vector<std::uint32_t> input_permutation_;
  // Made by the first call that wants it.
  template <typename Kept>
  const Kept& made(std::shared_ptr<const Kept>& kept, int threads);

  std::shared_ptr<const KeptColumns> kept_columns_;
  std::shared_ptr<const KeptBits> kept_bits_;
};

/// "float32", "float16" or "bfloat16".
Dtype tensor_dtype(std::string_view name);

inline Layout memory_order(bool by_features) {
  return by_features ? Layout::feature_major : Layout::token_major;
}

}  // namespace coppice::python
