// Magnitude pruning and packing of one weight, on a GPU where that gives the CPU's bytes, else on
// the CPU.
#pragma once

#include <mutex>
#include <set>
#include <string>

#include "coppice/prune.h"
#include "coppice/sparse_matrix.h"
#include "device.h"

namespace coppice::cli {

class MagnitudeEngine {
 public:
  /// @param required the user named the GPU: if it fails, that is an error.
  MagnitudeEngine(Device device, bool required)
      : gpu_(device == Device::cuda), required_(required) {}

  /// What `magnitude_mask` gives. The choices of a GPU for V:N:M with M > 32 count as unproven.
  /// May be called from several threads.
  MaskResult mask(const DenseView& dense, const Pattern& pattern, const MaskOptions& options);

  /// What `compress(dense, pattern, options)` gives.
  SparseMatrix pack(const DenseView& dense, const Pattern& pattern, const CompressOptions& options);

 private:
  /// True if the GPU is used for it. The first weight of a kind that is not gets a note.
  bool takes(const DenseView& dense, const Pattern& pattern);
  /// The GPU's result, or nothing if it failed.
  bool compress_on_gpu(const DenseView& dense, const Pattern& pattern,
                       const CompressOptions& options, SparseMatrix& out);
  void note_once(const std::string& text);

  bool gpu_, required_;
  std::set<std::string> noted_;
  std::mutex masks_;
};

/// Sets the scores of `result` to the sums of |weight|, all and kept by its mask: the same for
/// every number of threads.
void sum_magnitudes(const DenseView& dense, int threads, MaskResult& result);

/// True if a GPU prunes and compresses such weights.
bool gpu_compresses(const Pattern& pattern, Dtype dtype);

}  // namespace coppice::cli
