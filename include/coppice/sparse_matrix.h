// SparseMatrix: the canonical compressed form of one weight (docs/format.md), and the way in and
// out of it.
//
//   auto mask = coppice::magnitude_mask(dense, coppice::Pattern::parse("2:4"));   // prune.h
//   coppice::SparseMatrix sparse = coppice::compress(dense, mask, coppice::Pattern::parse("2:4"));
//   coppice::decompress(sparse.view(), out);   // the pruned dense weight again
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "coppice/dtype.h"
#include "coppice/grid.h"
#include "coppice/mask.h"
#include "coppice/pattern.h"

namespace coppice {

/// A dense row-major matrix on the host, not owned. Rows are `row_stride` elements apart (0:
/// packed, = cols).
struct DenseView {
  const std::byte* data = nullptr;
  Dtype dtype = Dtype::f32;
  std::int64_t rows = 0, cols = 0;
  std::int64_t row_stride = 0;

  std::int64_t stride() const { return row_stride == 0 ? cols : row_stride; }
  const std::byte* row(std::int64_t r) const { return data + r * stride() * dtype_bytes(dtype); }
};

/// The same, writable.
struct MutableDenseView {
  std::byte* data = nullptr;
  Dtype dtype = Dtype::f32;
  std::int64_t rows = 0, cols = 0;
  std::int64_t row_stride = 0;

  std::int64_t stride() const { return row_stride == 0 ? cols : row_stride; }
  std::byte* row(std::int64_t r) const { return data + r * stride() * dtype_bytes(dtype); }
  operator DenseView() const { return {data, dtype, rows, cols, row_stride}; }
};

/// A view of a float matrix `[rows, cols]`, packed.
inline DenseView dense_view(std::span<const float> data, std::int64_t rows, std::int64_t cols) {
  return {reinterpret_cast<const std::byte*>(data.data()), Dtype::f32, rows, cols, 0};
}

/// The canonical arrays of one weight, not owned. `grid` says how to read them.
struct SparseView {
  std::shared_ptr<const Grid> grid;
  Dtype dtype = Dtype::f32;
  std::span<const std::byte> values;    ///< [rows, grid->kept()] of dtype
  std::span<const std::byte> columns;   ///< [vectors, grid->column_bytes_per_vector()]
  std::span<const std::byte> metadata;  ///< [rows, grid->metadata_bytes_per_row()]
  std::span<const std::uint32_t>
      input_permutation;  ///< empty, or [cols]: grid column c is weight column input_permutation[c]
};

/// Owns the canonical arrays. Independent of machine and tile; equal inputs give equal bytes.
struct SparseMatrix {
  std::shared_ptr<const Grid> grid;
  Dtype dtype = Dtype::f32;
  std::vector<std::byte> values, columns, metadata;
  std::vector<std::uint32_t> input_permutation;

  SparseView view() const { return {grid, dtype, values, columns, metadata, input_permutation}; }
  const Pattern& pattern() const { return grid->pattern(); }
  std::int64_t rows() const { return grid->rows(); }
  std::int64_t cols() const { return grid->cols(); }
  /// Bytes of the arrays, the permutation included.
  std::int64_t own_bytes() const {
    return std::ssize(values) + std::ssize(columns) + std::ssize(metadata) +
           4 * std::ssize(input_permutation);
  }
};

struct CompressOptions {
  std::vector<std::int64_t> row_segments = {}, col_segments = {};  ///< see WeightShape
  std::vector<std::uint32_t> input_permutation = {};  ///< empty, or a permutation of the columns
  int threads = 1;
};

/// Stores the weights that `mask` keeps. Values are copied bit for bit; an under-full group is
/// filled with the lowest free positions, whose value is +0 where the mask clears them. Throws
/// InvalidArgument if the mask breaks the pattern (with the first place) or shapes, dtype or
/// permutation do not fit.
SparseMatrix compress(const DenseView& dense, const Mask& mask, const Pattern& pattern,
                      const CompressOptions& = {});

/// Stores a dense-with-zeros weight: the mask is "not +0 or -0". Throws InvalidArgument if the
/// weight breaks the pattern.
SparseMatrix compress(const DenseView& dense, const Pattern& pattern, const CompressOptions& = {});

/// Writes the dense weight (original column order), +0 where nothing is stored. `out` must have the
/// shape and dtype of `sparse`. The input must be valid (see `validate`).
void decompress(const SparseView& sparse, const MutableDenseView& out, int threads = 1);

/// The stored positions, in original column order (filled positions of under-full groups included).
Mask stored_mask(const SparseView& sparse);

/// Checks sizes, every index (in range, ascending), unused bits (zero) and the permutation. Throws
/// InvalidArgument naming the first fault. Everything that reads a SparseView from a file calls
/// this before any use.
void validate(const SparseView& sparse, int threads = 1);

/// Rows [begin, end) as a weight of their own. `begin` and `end` must be starts of vectors (or the
/// end of the matrix).
SparseMatrix slice_rows(const SparseView& sparse, std::int64_t begin, std::int64_t end);

/// Columns [begin, end), in grid order. Both must be starts of groups (or the end of the matrix);
/// no input permutation.
SparseMatrix slice_cols(const SparseView& sparse, std::int64_t begin, std::int64_t end);

/// One pattern that a weight satisfies.
struct DetectedPattern {
  Pattern pattern;
  double density = 1;  ///< nominal
};

struct Detection {
  std::int64_t nonzeros = 0;
  double density = 1;                      ///< nonzeros over all weights
  std::vector<DetectedPattern> satisfied;  ///< tightest first; `dense` is always the last
  Pattern
      tightest;  ///< lowest density on this shape; among equals the one with the fewest own bytes
};

/// Which of `candidates` (a standard list if empty) does the weight satisfy? +0 and -0 are zeros. A
/// pattern that prunes nothing of this shape (its only group is too short) is not listed.
Detection detect(const DenseView& dense, std::span<const Pattern> candidates = {}, int threads = 1);

}  // namespace coppice
