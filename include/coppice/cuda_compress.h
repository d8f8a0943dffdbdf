// Magnitude pruning and compression on an NVIDIA GPU: from a dense weight in device memory to its
// canonical form (docs/format.md) in device memory, the same bytes that `magnitude_mask` and
// `compress` give on the CPU.
//
//   auto grid = std::make_shared<coppice::Grid>(Pattern::parse("64:2:8"), WeightShape{rows, cols});
//   coppice::cuda::MagnitudeCompressor compressor(grid, Dtype::bf16);  // once
//   void* workspace = ...;  // device memory, compressor.workspace_bytes()
//   compressor.compress(dense, 0, {values, columns, metadata}, workspace, stream);  // any number
//   coppice::cuda::PackedWeight packed({grid, Dtype::bf16, values, columns, metadata}, stream);
//
// From the dense weight to the product (cuda.h) all of it happens on the device.
// Nothing here includes a CUDA header: a stream is the runtime's cudaStream_t by its real name.
#pragma once

#include <cstdint>
#include <memory>

#include "coppice/sparse_matrix.h"

struct CUstream_st;

namespace coppice::cuda {

/// The canonical arrays of one weight in device memory, not owned.
struct SparseBuffers {
  void* values = nullptr;    ///< grid.values_bytes(dtype); aligned to an element
  void* columns = nullptr;   ///< grid.columns_bytes(); may be null if that is 0
  void* metadata = nullptr;  ///< grid.metadata_bytes(); may be null if that is 0
};

/// Prunes weights of one shape, dtype and pattern by magnitude and compresses them. Holds the grid
/// in device memory (64 bytes a group, 16 a vector); immutable, safe to share between threads and
/// streams.
///
/// Choices are those of the CPU: element-wise the N largest of a group, vector- and block-wise the
/// N blocks of largest sum, and for V:N:M the columns whose kept weights have the largest sum (all
/// sets for M <= 32, greedy with swaps above: ColumnSearch::automatic). Ties go to the lower
/// column, and among sets of columns to the one that comes first; sums are taken in double
/// precision in the order of the CPU's, so that rounding ties the same sets.
class MagnitudeCompressor {
 public:
  /// @param dtype f16, bf16 or f32.
  /// The tables go to the current device. Throws InvalidArgument for other dtypes, for V:N:M that
  /// does not keep 2 of 4 columns and for more than 2^31 - 1 columns, DeviceError if the device
  /// cannot be used.
  MagnitudeCompressor(std::shared_ptr<const Grid> grid, Dtype dtype);
  MagnitudeCompressor(MagnitudeCompressor&&) noexcept;
  MagnitudeCompressor& operator=(MagnitudeCompressor&&) noexcept;
  ~MagnitudeCompressor();

  const Grid& grid() const;
  Dtype dtype() const;
  /// The device that holds the tables and runs the work.
  int device() const;
  /// Bytes of device memory that `compress` needs beside its operands.
  std::int64_t workspace_bytes() const;

  /// Enqueues the work on `stream` of the compressor's device. Allocates nothing, does not
  /// synchronise, can be captured in a graph; same bytes for every call with the same weight.
  /// @param dense [rows, cols] in device memory, aligned to an element; 16-byte aligned rows are
  /// fastest.
  /// @param row_stride elements between rows; 0 means packed.
  /// @param workspace device memory, 256-byte aligned, not in use by another stream at the time.
  /// Its first 8 bytes afterwards hold the position (row * cols + column) of the first NaN met, or
  /// kNoNan. A weight with NaN has no defined result; infinities count as the largest weights.
  /// Throws InvalidArgument if something does not fit, DeviceError if a launch fails.
  void compress(const void* dense, std::int64_t row_stride, const SparseBuffers& out,
                void* workspace, CUstream_st* stream = nullptr) const;

  static constexpr std::uint64_t kNoNan = ~std::uint64_t{0};

  struct Impl;

 private:
  std::unique_ptr<const Impl> impl_;
};

/// The same for a weight on the host, through the current device: allocates, copies and waits.
/// `options.threads` is not used. Throws InvalidArgument for a NaN (with its place) and for an
/// input permutation, and what MagnitudeCompressor throws.
SparseMatrix magnitude_compress(const DenseView& dense, const Pattern& pattern,
                                const CompressOptions& options = {});

}  // namespace coppice::cuda
