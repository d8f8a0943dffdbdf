// The least time that a sparse tensor core product can take: the roofline of
// docs/performance/model.md.
#pragma once

#include <cstdint>
#include <string>

#include "coppice/pattern.h"

namespace coppice::bench {

/// What a GPU can do in a second, all multiprocessors together.
struct GpuRates {
  double tensor_flops = 0;    ///< of 2:4 products in 16-bit types, zeros counted
  double ldmatrix_flops = 0;  ///< the same if every operand passes through ldmatrix and registers
  double l2_bytes = 0;        ///< from L2 to the multiprocessors
  double shared_bytes = 0;    ///< through shared memory, reads and writes together
  double memory_bytes = 0;
};

/// A GPU as its driver describes it.
struct GpuDescription {
  int compute_capability = 0;  ///< 10 * major + minor
  int multiprocessors = 0;
  double clock_hz = 0;        ///< the highest of the multiprocessors
  double memory_bytes_s = 0;  ///< nominal
};

/// The rates of the model. Compute capability 9.0: measured on an H200 and scaled to the number of
/// multiprocessors (1454 TFLOP/s that wgmma.sp sustains under the power limit, 910 of mma.sp with
/// ldmatrix, 9.2 TB/s from L2, 97 % of the nominal memory bandwidth); others: nominal operations,
/// and 64 B of L2 for a clock and multiprocessor. Shared memory: 128 B for a clock and
/// multiprocessor.
GpuRates gpu_rates(const GpuDescription& gpu);

struct GpuBound {
  double seconds = 0;
  std::string limit;  ///< "tensor cores", "L2", "shared memory" or "memory"
};

/// The bound of one product of a 2:4 or V:2:M weight in a 16-bit type, output included. For the
/// best of the tile sizes that fit the registers (rows x tokens <= 128 x 384): per step of 64
/// columns alive a tile brings activations and weights from L2 into shared memory, and tensor
/// instructions of 64 rows each read their weights and the activations of the step from there.
/// Either the tile gathers the columns alive and has at most V rows, or it takes all columns, for
/// several vectors, and gathers by ldmatrix. Partly filled tiles are not counted: a product that
/// fills the GPU badly must miss the bound.
GpuBound gpu_bound(const Pattern& pattern, std::int64_t rows, std::int64_t cols,
                   std::int64_t tokens, const GpuRates& rates);

}  // namespace coppice::bench
