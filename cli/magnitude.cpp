#include "magnitude.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <numeric>
#include <vector>

#include "console.h"
#include "coppice/cuda_compress.h"
#include "coppice/error.h"
#include "core/parallel_for.h"
#include "format/nonzero.h"

namespace coppice::cli {
namespace {

constexpr int kExactCols = 32;  // of a group: up to there the search for columns is exhaustive

// Makes -0 into +0, as packing does. @returns how many values are not zero.
template <typename Bits>
std::int64_t clear_zeros(std::span<std::byte> values) {
  constexpr auto kSign = static_cast<Bits>(Bits{1} << (8 * sizeof(Bits) - 1));
  std::int64_t nonzeros = 0;
  for (std::size_t at = 0; at < values.size(); at += sizeof(Bits)) {
    Bits bits;
    std::memcpy(&bits, values.data() + at, sizeof(Bits));
    if (bits == kSign) std::memset(values.data() + at, 0, sizeof(Bits));
    nonzeros += (bits & ~kSign) != 0;
  }
  return nonzeros;
}

std::int64_t clear_zeros(SparseMatrix& sparse) {
  return dtype_bytes(sparse.dtype) == 4 ? clear_zeros<std::uint32_t>(sparse.values)
                                        : clear_zeros<std::uint16_t>(sparse.values);
}

std::int64_t count_nonzeros(const DenseView& dense, int threads) {
  const Mask mask = nonzero_mask(dense, threads);
  std::int64_t nonzeros = 0;
  for (std::int64_t r = 0; r < dense.rows; ++r)
    for (std::uint64_t word : mask.row(r)) nonzeros += std::popcount(word);
  return nonzeros;
}

}  // namespace

// Row by row, so that the threads do not show.
void sum_magnitudes(const DenseView& dense, int threads, MaskResult& result) {
  std::vector<double> total(static_cast<std::size_t>(dense.rows)), kept(total.size());
  parallel_ranges(dense.rows, threads, [&](std::int64_t begin, std::int64_t end, int) {
    std::vector<float> row(static_cast<std::size_t>(dense.cols));
    for (std::int64_t r = begin; r < end; ++r) {
      to_float(dense.dtype, dense.row(r), row);
      for (std::int64_t c = 0; c < dense.cols; ++c) {
        const double score = std::fabs(static_cast<double>(row[static_cast<std::size_t>(c)]));
        total[static_cast<std::size_t>(r)] += score;
        if (result.mask.get(r, c)) kept[static_cast<std::size_t>(r)] += score;
      }
    }
  });
  result.total_score = std::accumulate(total.begin(), total.end(), 0.0);
  result.kept_score = std::accumulate(kept.begin(), kept.end(), 0.0);
}

bool gpu_compresses(const Pattern& pattern, Dtype dtype) {
  const bool known = dtype == Dtype::f32 || dtype == Dtype::f16 || dtype == Dtype::bf16;
  return known && !pattern.is_dense() &&
         (!pattern.has_inner() || (pattern.kept == 4 && pattern.inner_kept == 2));
}

void MagnitudeEngine::note_once(const std::string& text) {
  if (noted_.insert(text).second) note(text);
}

bool MagnitudeEngine::takes(const DenseView& dense, const Pattern& pattern) {
  if (!gpu_) return false;
  if (gpu_compresses(pattern, dense.dtype)) return dense.rows > 0 && dense.cols > 0;
  note_once(fmt::format("{} {} is worked on by the CPU: the GPU takes no such weights",
                        dtype_name(dense.dtype), pattern.to_string()));
  return false;
}

bool MagnitudeEngine::compress_on_gpu(const DenseView& dense, const Pattern& pattern,
                                      const CompressOptions& options, SparseMatrix& out) {
#if COPPICE_HAS_CUDA
  try {
    out = cuda::magnitude_compress(dense, pattern, options);
    return true;
  } catch (const InvalidArgument&) {
    return false;  // a weight that is not a number: the CPU's message is the one to see
  } catch (const DeviceError& error) {
    if (required_) throw;
    note_once(fmt::format("the GPU failed, the CPU goes on: {}", error.what()));
    gpu_ = false;
    return false;
  }
#else
  (void)dense, (void)pattern, (void)options, (void)out;
  return false;
#endif
}

MaskResult MagnitudeEngine::mask(const DenseView& dense, const Pattern& pattern,
                                 const MaskOptions& options) {
  const std::lock_guard one_at_a_time(masks_);
  SparseMatrix sparse;
  const CompressOptions as_pruned{options.row_segments, options.col_segments, {}, options.threads};
  if (options.columns != ColumnSearch::automatic || !takes(dense, pattern) ||
      !compress_on_gpu(dense, pattern, as_pruned, sparse))
    return magnitude_mask(dense, pattern, options);
  MaskResult result;
  result.mask = stored_mask(sparse.view());
  sum_magnitudes(dense, options.threads, result);
  if (pattern.has_inner()) {
    result.blocks = std::ssize(sparse.grid->vectors()) * std::ssize(sparse.grid->groups());
    if (pattern.group > kExactCols) result.unproven_blocks = result.blocks;
  }
  return result;
}

SparseMatrix MagnitudeEngine::pack(const DenseView& dense, const Pattern& pattern,
                                   const CompressOptions& options) {
  SparseMatrix sparse;
  // The largest weights of a weight that satisfies the pattern are all that are not zero, and ties
  // among zeros go to the lowest places, where packing fills up. Counting shows that none was lost:
  // where sums differ by so many orders that small weights vanish in them, or the pattern is
  // broken.
  if (takes(dense, pattern) && compress_on_gpu(dense, pattern, options, sparse) &&
      clear_zeros(sparse) == count_nonzeros(dense, options.threads))
    return sparse;
  return compress(dense, pattern, options);
}

}  // namespace coppice::cli
