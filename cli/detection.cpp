#include "detection.h"

#include <algorithm>
#include <array>

namespace coppice::cli {
namespace {

// Rows of the first try: whole vectors of every standard pattern.
constexpr std::int64_t kSampleRows = 256;
// After so many wrong guesses the whole search costs less.
constexpr int kGuesses = 4;

DenseView rows_of(const DenseView& dense, std::int64_t begin, std::int64_t rows) {
  return {dense.row(begin), dense.dtype, rows, dense.cols, dense.stride()};
}

std::vector<std::int64_t> segments_of(const DenseView& dense, const WeightShape& shape) {
  return shape.row_segments.empty() ? std::vector{dense.rows} : shape.row_segments;
}

bool holds(const Detection& detection, const Pattern& pattern) {
  return std::ranges::any_of(detection.satisfied,
                             [&](const DetectedPattern& s) { return s.pattern == pattern; });
}

// At most `limit` rows of each segment.
Found find(const DenseView& dense, const WeightShape& shape, std::span<const Pattern> candidates,
           std::int64_t limit, int threads) {
  Found found;
  std::int64_t nonzeros = 0, begin = 0, seen = 0;
  bool first = true;
  for (std::int64_t rows : segments_of(dense, shape)) {
    std::int64_t used = std::min(rows, limit);
    Detection detection = detect(rows_of(dense, begin, used), candidates, threads);
    nonzeros += detection.nonzeros;
    seen += used;
    begin += rows;
    if (first)
      for (const auto& s : detection.satisfied)
        if (!s.pattern.is_dense()) found.satisfied.push_back(s.pattern);
    std::erase_if(found.satisfied, [&](const Pattern& p) { return !holds(detection, p); });
    first = false;
  }
  double weights = static_cast<double>(seen) * static_cast<double>(dense.cols);
  found.density = weights > 0 ? static_cast<double>(nonzeros) / weights : 1;
  return found;
}

}  // namespace

Found find_patterns(const DenseView& dense, const WeightShape& shape,
                    std::span<const Pattern> candidates, int threads) {
  return find(dense, shape, candidates, dense.rows, threads);
}

Found find_tightest(const DenseView& dense, const WeightShape& shape, int threads) {
  if (dense.rows <= 4 * kSampleRows) return find(dense, shape, {}, dense.rows, threads);
  // What fails in some rows fails in all of them.
  Found sample = find(dense, shape, {}, kSampleRows, threads);
  int guesses = 0;
  for (const Pattern& guess : sample.satisfied) {
    if (++guesses > kGuesses) return find(dense, shape, {}, dense.rows, threads);
    Found whole = find(dense, shape, std::array{guess}, dense.rows, threads);
    if (!whole.satisfied.empty()) return whole;
  }
  // Nothing fits: `dense` as the only candidate counts the zeros and searches nothing.
  return find(dense, shape, std::array{Pattern{}}, dense.rows, threads);
}

}  // namespace coppice::cli
