#include "bench/gpu_bound.h"

#include <algorithm>
#include <limits>

namespace coppice::bench {
namespace {

constexpr double kBytes = 2;                  // of an element
constexpr double kStepCols = 64;              // columns alive
constexpr double kBlockRows = 64;             // of a tensor instruction
constexpr double kValues = 64 * 32 * kBytes;  // of a block in a step: half the columns
constexpr double kRecord = kValues + 512;     // and 2 bits of metadata for each value
constexpr double kMostOutputs = 128 * 384;    // sums in the registers of a multiprocessor
constexpr double kMostTokens = 512;
constexpr int kTileRows[] = {64, 128, 192, 256};

struct Product {
  double rows, cols, tokens, alive;  // columns alive in a vector
  double flops() const { return 2 * rows * alive * tokens; }
};

// The slowest of what a product needs counts.
GpuBound slowest(double tensor, double l2, double shared) {
  GpuBound bound{tensor, "tensor cores"};
  if (l2 > bound.seconds) bound = {l2, "L2"};
  if (shared > bound.seconds) bound = {shared, "shared memory"};
  return bound;
}

// `loaded`: columns brought in for each column alive.
GpuBound tile_bound(const Product& p, const GpuRates& rates, double tile_rows, double loaded,
                    double flops) {
  // More tokens are never worse: all read the same weights.
  const double tokens = std::min(kMostOutputs / tile_rows, kMostTokens);
  const double steps = p.rows / tile_rows * (p.tokens / tokens) * (p.alive / kStepCols);
  const double blocks = tile_rows / kBlockRows, activations = tokens * kStepCols * kBytes;
  const double incoming = loaded * activations + blocks * kRecord;
  const double read = blocks * (activations + kValues);
  return slowest(p.flops() / flops, steps * incoming / rates.l2_bytes,
                 steps * (incoming + read) / rates.shared_bytes);
}

}  // namespace

GpuRates gpu_rates(const GpuDescription& gpu) {
  const double processors = gpu.multiprocessors;
  const double shared = 128 * processors * gpu.clock_hz, memory = 0.97 * gpu.memory_bytes_s;
  if (gpu.compute_capability == 90) {
    const double share = processors / 132;
    return {1454e12 * share, 910e12 * share, 9.2e12 * share, shared, memory};
  }
  const double fma = gpu.compute_capability == 80 ? 2048 : 1024;
  const double flops = 2 * fma * processors * gpu.clock_hz;
  return {flops, flops, 64 * processors * gpu.clock_hz, shared, memory};
}

GpuBound gpu_bound(const Pattern& pattern, std::int64_t rows, std::int64_t cols,
                   std::int64_t tokens, const GpuRates& rates) {
  const bool gathered = pattern.has_inner();
  const double alive_share =
      gathered ? static_cast<double>(pattern.kept) / static_cast<double>(pattern.group) : 1;
  const Product p{static_cast<double>(rows), static_cast<double>(cols), static_cast<double>(tokens),
                  static_cast<double>(cols) * alive_share};
  GpuBound best{std::numeric_limits<double>::infinity(), ""};
  const auto consider = [&](const GpuBound& bound) {
    if (bound.seconds < best.seconds) best = bound;
  };
  for (const int tile_rows : kTileRows) {
    if (!gathered || tile_rows <= pattern.vec_rows)
      consider(tile_bound(p, rates, tile_rows, 1, rates.tensor_flops));
    if (gathered) consider(tile_bound(p, rates, tile_rows, 1 / alive_share, rates.ldmatrix_flops));
  }
  const double weight = p.rows / kBlockRows * (p.alive / kStepCols) * kRecord;
  const double memory = (weight + kBytes * p.tokens * (p.cols + p.rows)) / rates.memory_bytes;
  return memory > best.seconds ? GpuBound{memory, "memory"} : best;
}

}  // namespace coppice::bench
