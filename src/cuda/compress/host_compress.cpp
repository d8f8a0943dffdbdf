// Magnitude compression of a weight on the host, through the device.
#include <cuda_runtime.h>
#include <fmt/format.h>

#include "coppice/cuda_compress.h"
#include "coppice/error.h"
#include "cuda/check.h"
#include "format/checks.h"

namespace coppice::cuda {
namespace {

void download(std::vector<std::byte>& host, const DeviceBuffer& device) {
  if (host.empty()) return;
  check(cudaMemcpy(host.data(), device.data(), host.size(), cudaMemcpyDeviceToHost),
        "copying a compressed weight from the device");
}

}  // namespace

SparseMatrix magnitude_compress(const DenseView& dense, const Pattern& pattern,
                                const CompressOptions& options) {
  check_dense(dense, "the weight");
  if (!options.input_permutation.empty())
    throw InvalidArgument("compression on the GPU takes no input permutation; compress on the CPU");
  SparseMatrix out;
  out.grid = std::make_shared<const Grid>(
      pattern, WeightShape{dense.rows, dense.cols, options.row_segments, options.col_segments});
  out.dtype = dense.dtype;
  const MagnitudeCompressor compressor(out.grid, dense.dtype);
  out.values.resize(static_cast<std::size_t>(out.grid->values_bytes(dense.dtype)));
  out.columns.resize(static_cast<std::size_t>(out.grid->columns_bytes()));
  out.metadata.resize(static_cast<std::size_t>(out.grid->metadata_bytes()));
  if (dense.rows == 0 || dense.cols == 0) return out;

  const std::size_t row_bytes =
      static_cast<std::size_t>(dense.cols) * static_cast<std::size_t>(dtype_bytes(dense.dtype));
  const std::size_t pitch = (row_bytes + 15) / 16 * 16;  // rows on 16 bytes are fastest
  const DeviceBuffer input(pitch * static_cast<std::size_t>(dense.rows));
  check(cudaMemcpy2D(input.data(), pitch, dense.data,
                     static_cast<std::size_t>(dense.stride() * dtype_bytes(dense.dtype)), row_bytes,
                     static_cast<std::size_t>(dense.rows), cudaMemcpyHostToDevice),
        "copying a weight to the device");
  const DeviceBuffer values(out.values.size()), columns(out.columns.size()),
      metadata(out.metadata.size()),
      workspace(static_cast<std::size_t>(compressor.workspace_bytes()));
  compressor.compress(input.data(), static_cast<std::int64_t>(pitch) / dtype_bytes(dense.dtype),
                      {values.data(), columns.data(), metadata.data()}, workspace.data());
  std::uint64_t nan = MagnitudeCompressor::kNoNan;
  check(cudaMemcpy(&nan, workspace.data(), sizeof(nan), cudaMemcpyDeviceToHost),
        "compressing a weight on the device");
  if (nan != MagnitudeCompressor::kNoNan) {
    const auto cols = static_cast<std::uint64_t>(dense.cols);
    throw InvalidArgument(
        fmt::format("the score at row {}, column {} is NaN; scores need to be numbers (set it to 0 "
                    "to have it pruned)",
                    nan / cols, nan % cols));
  }
  download(out.values, values);
  download(out.columns, columns);
  download(out.metadata, metadata);
  return out;
}

}  // namespace coppice::cuda
