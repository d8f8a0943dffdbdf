// The searches from outside: start, exchange, and the check that something was gained.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <optional>

#include "coppice/error.h"
#include "coppice/permutation_search.h"
#include "prune/permutation/column_model.h"
#include "prune/permutation/row_model.h"
#include "prune/permutation/search.h"

namespace coppice {
namespace {

using prune::Bin;
using prune::Clock;
using prune::Segment;

void check_options(const PermutationOptions& options) {
  if (options.assignment_size < 0 || options.assignment_size == 1)
    throw InvalidArgument(fmt::format("assignment_size is {}, need 0 (automatic), or 2 or more",
                                      options.assignment_size));
  if (!(options.limit_seconds >= 0) || !(options.tolerance >= 0) || options.max_passes < 0)
    throw InvalidArgument(
        fmt::format("limit_seconds {}, tolerance {} and max_passes {} of a permutation search must "
                    "not be negative",
                    options.limit_seconds, options.tolerance, options.max_passes));
}

MaskOptions mask_options(const PermutationOptions& options) {
  return {options.row_segments, options.col_segments, ColumnSearch::automatic, options.threads};
}

struct Scored {
  double total = 0, kept = 0;
};

Scored identity_score(const DenseView& scores, const Pattern& pattern,
                      const PermutationOptions& options) {
  check_options(options);
  const MaskResult mask = select_mask(scores, pattern, mask_options(options));
  if (!std::isfinite(mask.total_score))
    throw InvalidArgument("a score is infinite; a permutation search needs finite scores");
  return {mask.total_score, mask.kept_score};
}

// The permuted scores, or the mask's opinion of them.
class Permuted {
 public:
  Permuted(const DenseView& scores, const Permutation& input, const Permutation& output,
           int threads)
      : bytes_(static_cast<std::size_t>(scores.rows * scores.cols * dtype_bytes(scores.dtype))),
        view_{bytes_.data(), scores.dtype, scores.rows, scores.cols, 0} {
    if (is_identity(output)) {
      permute_cols(scores, input, view_, threads);
      return;
    }
    std::vector<std::byte> rows(bytes_.size());
    const MutableDenseView half{rows.data(), scores.dtype, scores.rows, scores.cols, 0};
    permute_rows(scores, output, half, threads);
    permute_cols(half, input, view_, threads);
  }
  DenseView view() const { return view_; }

 private:
  std::vector<std::byte> bytes_;
  MutableDenseView view_;
};

double kept_score(const DenseView& scores, const Pattern& pattern, const Permutation& input,
                  const Permutation& output, const PermutationOptions& options) {
  const Permuted permuted(scores, input, output, options.threads);
  return select_mask(permuted.view(), pattern, mask_options(options)).kept_score;
}

// Columns by falling importance, cut into blocks and dealt to the groups of a segment snake-wise.
void deal(const prune::ColumnModel& model, const Grid& grid, const Segment& segment,
          Permutation& order) {
  std::vector<std::pair<double, std::uint32_t>> ranked;
  for (const Bin& bin : segment)
    for (std::int64_t slot = bin.first; slot < bin.first + bin.size; ++slot)
      ranked.emplace_back(model.importance(static_cast<std::uint32_t>(slot)),
                          static_cast<std::uint32_t>(slot));
  std::ranges::stable_sort(ranked, std::greater<>(), [](const auto& entry) { return entry.first; });
  std::size_t next = 0;
  bool forth = true;
  for (std::int64_t block = 0; next < ranked.size(); ++block, forth = !forth) {
    for (std::size_t i = 0; i < segment.size(); ++i) {
      const Bin& bin = segment[forth ? i : segment.size() - 1 - i];
      const ColumnGroup& group = grid.groups()[bin.index];
      if (block >= group.blocks) continue;
      const std::int64_t first = bin.first + block * group.block_cols;
      for (std::int64_t slot = first; slot < first + group.block_cols; ++slot)
        order[static_cast<std::size_t>(slot)] = ranked[next++].second;
    }
  }
}

PermutationResult finish(PermutationResult result, Clock::time_point start,
                         const prune::SearchEnd& end) {
  result.kept_score = end.kept_score;
  if (result.kept_score <= result.identity_score) {
    result.permutation = identity_permutation(std::ssize(result.permutation));
    result.kept_score = result.identity_score;
  }
  result.passes = end.passes;
  result.converged = end.converged;
  result.seconds = prune::seconds_since(start);
  return result;
}

}  // namespace

PermutationResult find_input_permutation(const DenseView& scores, const Pattern& pattern,
                                         const PermutationOptions& options) {
  const Clock::time_point start = Clock::now();
  const Scored identity = identity_score(scores, pattern, options);
  PermutationResult result{identity_permutation(scores.cols), identity.total, identity.kept,
                           identity.kept};
  const Grid grid(pattern, {scores.rows, scores.cols, options.row_segments, options.col_segments});
  if (grid.pattern().is_dense() || scores.rows == 0 || grid.groups().size() < 2)
    return finish(std::move(result), start, {identity.kept, 0, true});

  std::vector<Bin> bins;
  for (const ColumnGroup& group : grid.groups())
    bins.push_back({group.col, group.cols, bins.size()});
  const std::vector<Segment> segments = prune::split_segments(bins, options.col_segments);
  prune::ColumnModel model(scores, grid, options.threads);
  const Permutation rows = identity_permutation(scores.rows);
  const prune::OrderScore score = [&](const Permutation& order) {
    return kept_score(scores, pattern, order, rows, options);
  };
  Permutation dealt = result.permutation;
  for (const Segment& segment : segments) deal(model, grid, segment, dealt);
  double kept = score(dealt);
  if (kept > identity.kept)
    result.permutation = std::move(dealt);
  else
    kept = identity.kept;

  const prune::SearchEnd end = prune::exchange_channels(model, segments, score, identity.total,
                                                        kept, options, start, result.permutation);
  return finish(std::move(result), start, end);
}

PermutationResult find_output_permutation(const DenseView& scores, const Pattern& pattern,
                                          const PermutationOptions& options) {
  const Clock::time_point start = Clock::now();
  const Scored identity = identity_score(scores, pattern, options);
  PermutationResult result{identity_permutation(scores.rows), identity.total, identity.kept,
                           identity.kept};
  const Grid grid(pattern, {scores.rows, scores.cols, options.row_segments, options.col_segments});
  if (grid.pattern().is_dense() || grid.pattern().vec_rows == 1 || scores.cols == 0 ||
      grid.vectors().size() < 2)
    return finish(std::move(result), start, {identity.kept, 0, true});

  std::vector<Bin> bins;
  for (const RowVector& vector : grid.vectors())
    bins.push_back({vector.row, vector.rows, bins.size()});
  prune::RowModel model(scores, grid, options.threads);
  const Permutation cols = identity_permutation(scores.cols);
  const prune::OrderScore score = [&](const Permutation& order) {
    return kept_score(scores, pattern, cols, order, options);
  };
  const prune::SearchEnd end =
      prune::exchange_channels(model, prune::split_segments(bins, options.row_segments), score,
                               identity.total, identity.kept, options, start, result.permutation);
  return finish(std::move(result), start, end);
}

AlternationResult alternate_permutations(const DenseView& scores, const Pattern& pattern,
                                         const PermutationOptions& options, int rounds) {
  if (rounds < 1)
    throw InvalidArgument(fmt::format("{} rounds of permutation, need 1 or more", rounds));
  const Clock::time_point start = Clock::now();
  AlternationResult result{.input = identity_permutation(scores.cols),
                           .output = identity_permutation(scores.rows)};
  PermutationOptions step = options;
  for (int i = 0; i < 2 * rounds; ++i) {
    // What is left is shared by the steps to come, so that the last ones get their turn.
    step.limit_seconds =
        std::max(0.0, options.limit_seconds - prune::seconds_since(start)) / (2 * rounds - i);
    const Permuted permuted(scores, result.input, result.output, options.threads);
    const bool columns = i % 2 == 0;
    const PermutationResult found = columns
                                        ? find_input_permutation(permuted.view(), pattern, step)
                                        : find_output_permutation(permuted.view(), pattern, step);
    Permutation& side = columns ? result.input : result.output;
    side = compose(side, found.permutation);
    if (i == 0) result.identity_score = found.identity_score;
    result.total_score = found.total_score;
    result.kept_score = found.kept_score;
    result.converged = found.converged;
    step.seed += 1;
  }
  result.seconds = prune::seconds_since(start);
  return result;
}

}  // namespace coppice
