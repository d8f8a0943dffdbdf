#include <algorithm>
#include <array>
#include <atomic>
#include <map>
#include <tuple>

#include "core/parallel_for.h"
#include "format/checks.h"
#include "format/choice_set.h"
#include "format/nonzero.h"

namespace coppice {
namespace {

constexpr std::array kVectorRows = {4, 8, 16, 32, 64, 128};
constexpr std::array<std::pair<int, int>, 9> kBlocks = {
    {{4, 4}, {8, 4}, {8, 8}, {16, 4}, {16, 16}, {32, 8}, {32, 32}, {64, 64}, {128, 128}}};
constexpr std::array kGroups = {4, 8, 16, 32, 64};
constexpr std::array kVnmGroups = {5,  6,  7,  8,  10, 12, 14,  16, 20,
                                   24, 28, 32, 40, 48, 64, 100, 128};

// N of a standard N:M: 1, 2, 3, then four steps to each power of two.
std::vector<int> standard_kept(int group) {
  std::vector<int> kept;
  for (int n = 1; n < group; n += n < 8 ? 1 : n < 16 ? 2 : n < 32 ? 4 : 8) kept.push_back(n);
  return kept;
}

std::vector<Pattern> standard_candidates() {
  std::vector<Pattern> list;
  for (int group : kGroups) {
    for (int kept : standard_kept(group)) {
      list.push_back(Pattern::make(1, 1, kept, group));
      for (int rows : kVectorRows) list.push_back(Pattern::make(rows, 1, kept, group));
      for (auto [rows, cols] : kBlocks) list.push_back(Pattern::make(rows, cols, kept, group));
    }
  }
  for (auto [rows, cols] : kBlocks) list.push_back(Pattern::make(rows, cols, 1, 2));
  for (int rows : kVectorRows)
    for (int group : kVnmGroups)
      for (int inner : {1, 2, 3}) list.push_back(Pattern::make(rows, 1, 4, group, inner));
  return list;
}

// Fewer weights than this are not worth a thread.
constexpr std::int64_t kWeightsPerThread = std::int64_t{1} << 20;

// The most blocks that any vector keeps of any group, for each vector height, block width and
// group size asked for. Every candidate is a bound on one or two of these numbers, so one pass over
// the mask serves all candidates that differ in N only.
class Occupancy {
 public:
  Occupancy(const Mask& mask, int threads)
      : mask_(mask),
        threads_(static_cast<int>(
            std::min<std::int64_t>(threads, 1 + mask.rows() * mask.cols() / kWeightsPerThread))) {}

  bool fits(const Pattern& p) {
    // The rows of a vector first: one that is not sparse by itself is in no vector that is.
    if (p.has_inner() && most(1, 1, p.group) > p.inner_kept) return false;
    if (p.vec_rows > 1 && most(1, p.block_cols, p.group) > p.kept) return false;
    return most(p.vec_rows, p.block_cols, p.group) <= p.kept;
  }

 private:
  int most(int vec_rows, int block_cols, int group) {
    auto [entry, is_new] = known_.try_emplace({vec_rows, block_cols, group}, 0);
    if (is_new) entry->second = measure(vec_rows, block_cols, group);
    return entry->second;
  }

  int measure(int vec_rows, int block_cols, int group) const;

  const Mask& mask_;
  int threads_;
  std::map<std::tuple<int, int, int>, int> known_;
};

// Stops as soon as some group is full, which says that nothing of this kind fits.
int Occupancy::measure(int vec_rows, int block_cols, int group) const {
  if (group == 1) return 1;
  // The grid of any pattern of this kind: the groups do not depend on N.
  const Grid grid(Pattern::make(vec_rows, block_cols, 1, group),
                  {mask_.rows(), mask_.cols(), {}, {}});
  std::atomic<int> most = 0;
  parallel_ranges(
      std::ssize(grid.vectors()), threads_, [&](std::int64_t begin, std::int64_t end, int) {
        std::vector<std::uint64_t> alive(static_cast<std::size_t>((mask_.cols() + 63) / 64));
        int most_here = 0;
        for (std::int64_t v = begin; v < end && most.load(std::memory_order_relaxed) < group; ++v) {
          merge_rows(mask_, grid.vectors()[static_cast<std::size_t>(v)], alive);
          for (const ColumnGroup& g : grid.groups()) {
            most_here = std::max(most_here, ChoiceSet::blocks(alive, g).count());
            if (most_here == group) break;
          }
          int seen = most.load(std::memory_order_relaxed);
          while (seen < most_here && !most.compare_exchange_weak(seen, most_here)) {
          }
        }
      });
  return most;
}

}  // namespace

Detection detect(const DenseView& dense, std::span<const Pattern> candidates, int threads) {
  check_dense(dense, "the weight");
  const Mask mask = nonzero_mask(dense, threads);
  Detection found;
  found.nonzeros = mask.count();
  const double weights = static_cast<double>(dense.rows) * static_cast<double>(dense.cols);
  found.density = weights == 0 ? 1 : static_cast<double>(found.nonzeros) / weights;

  std::vector<Pattern> list(candidates.begin(), candidates.end());
  if (list.empty()) list = standard_candidates();
  struct Satisfied {
    Pattern pattern;
    double density;  // of this shape, so that short groups count as what they keep
    std::int64_t own_bytes;
  };
  std::vector<Satisfied> satisfied;
  Occupancy occupancy(mask, threads);
  for (const Pattern& given : list) {
    const Pattern p =
        Pattern::make(given.vec_rows, given.block_cols, given.kept, given.group, given.inner_kept);
    if (std::ranges::find(satisfied, p, &Satisfied::pattern) != satisfied.end()) continue;
    if (!occupancy.fits(p)) continue;
    const Grid grid(p, {dense.rows, dense.cols, {}, {}});
    if (grid.kept() == dense.cols) continue;  // nothing of this shape is pruned
    satisfied.push_back({p, grid.density(), grid.own_bytes(dense.dtype)});
  }
  std::ranges::stable_sort(satisfied, {}, [](const Satisfied& s) {
    return std::tuple(s.density, s.own_bytes, s.pattern.group);
  });
  for (const Satisfied& s : satisfied) found.satisfied.push_back({s.pattern, s.pattern.density()});
  found.satisfied.push_back({Pattern{}, 1});
  found.tightest = found.satisfied.front().pattern;
  return found;
}

}  // namespace coppice
