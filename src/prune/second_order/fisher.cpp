// Pruning by empirical Fisher blocks (docs/second_order.md).
#include <fmt/format.h>

#include <cmath>
#include <numeric>
#include <utility>

#include "coppice/cancel.h"
#include "coppice/error.h"
#include "core/parallel_for.h"
#include "prune/second_order/candidate.h"
#include "prune/second_order/fisher_choice.h"
#include "prune/second_order/fisher_rows.h"

namespace coppice {
namespace {

using prune::Candidate;
using prune::FisherModel;

// Larger sums could overflow on the way.
constexpr double kLargest = 1e150;

void check(std::span<const float> weights, const Grid& grid, const FisherStatistics& fisher) {
  const std::int64_t rows = grid.rows(), cols = grid.cols();
  if (std::cmp_not_equal(weights.size(), rows * cols))
    throw InvalidArgument(fmt::format("there are {} weights, {} x {} need {}", weights.size(), rows,
                                      cols, rows * cols));
  for (const float weight : weights)
    if (!std::isfinite(weight))
      throw InvalidArgument(fmt::format("a weight is {}; weights need to be finite", weight));
  if (fisher.block < 1 || fisher.samples < 1)
    throw InvalidArgument(
        fmt::format("Fisher blocks of {} weights from {} gradients: both need to "
                    "be 1 or more",
                    fisher.block, fisher.samples));
  const std::int64_t blocks = rows * ((cols + fisher.block - 1) / fisher.block);
  if (fisher.blocks != blocks || std::ssize(fisher.sums) != blocks * fisher.block * fisher.block)
    throw InvalidArgument(fmt::format("{} Fisher blocks of {} weights do not fit {} x {} weights",
                                      fisher.blocks, fisher.block, rows, cols));
  for (const double sum : fisher.sums)
    if (!(std::fabs(sum) <= kLargest))
      throw InvalidArgument(
          fmt::format("a Fisher block has {}; its numbers need to be at most {}", sum, kLargest));
}

// Groups and blocks that do not overlap others: columns in which rows can be pruned by themselves.
struct Span {
  std::int64_t begin, end;
  std::size_t first_group, last_group;  // inclusive
};

std::vector<Span> split_columns(const Grid& grid, std::int64_t block) {
  std::vector<Span> spans;
  for (std::size_t g = 0; g < grid.groups().size(); ++g) {
    const ColumnGroup& group = grid.groups()[g];
    if (spans.empty() || group.col % block == 0)
      spans.push_back({group.col, group.col + group.cols, g, g});
    else
      spans.back().end = group.col + group.cols, spans.back().last_group = g;
  }
  return spans;
}

std::vector<double> losses(const FisherModel& model, std::span<const float> before,
                           const float* after, std::int64_t cols, int threads) {
  std::vector<double> out(before.size() / static_cast<std::size_t>(cols));
  parallel_ranges(std::ssize(out), threads, [&](std::int64_t begin, std::int64_t end, int) {
    std::vector<double> change(static_cast<std::size_t>(cols));
    for (std::int64_t r = begin; r < end; ++r) {
      for (std::int64_t c = 0; c < cols; ++c)
        change[static_cast<std::size_t>(c)] =
            static_cast<double>(before[static_cast<std::size_t>(r * cols + c)]) -
            (after != nullptr ? static_cast<double>(after[r * cols + c]) : 0.0);
      out[static_cast<std::size_t>(r)] = model.loss(r, change);
    }
  });
  return out;
}

double relative(const std::vector<double>& part, double whole) {
  const double sum = std::accumulate(part.begin(), part.end(), 0.0);
  if (sum <= 0) return 0;  // to rounding
  return whole > 0 ? std::sqrt(sum / whole) : std::numeric_limits<double>::infinity();
}

struct Pruned {
  Candidate candidate = {};
  std::int64_t raised = 0, pairwise_groups = 0;
};

Pruned run(std::span<const float> weights, const Grid& grid, const FisherModel& model,
           const FisherOptions& options) {
  const prune::FisherChoice choice(grid, options.search);
  Pruned pruned{{{weights.begin(), weights.end()}, Mask(grid.rows(), grid.cols()), {}}};
  for (std::size_t g = 0; g < grid.groups().size(); ++g)
    pruned.pairwise_groups += !choice.exhaustive(g);
  const std::vector<Span> spans = split_columns(grid, model.statistics.block);
  const auto parts = prune::split_vectors(grid);
  std::vector<std::int64_t> raised(parts.size());
  parallel_for(std::ssize(parts), options.threads, [&](std::int64_t i) {
    prune::FisherRows rows(model, grid.cols());
    for (const RowVector& vector : parts[static_cast<std::size_t>(i)])
      for (const Span& span : spans) {
        throw_if_cancelled();
        rows.load(vector, span.begin, span.end, weights.data());
        for (std::size_t g = span.first_group; g <= span.last_group; ++g)
          choice.prune(g, rows, vector.row, pruned.candidate.mask);
        rows.store(pruned.candidate.weights.data());
      }
    raised[static_cast<std::size_t>(i)] = rows.raised();
  });
  pruned.raised = std::accumulate(raised.begin(), raised.end(), std::int64_t{0});
  return pruned;
}

Candidate by_magnitude(std::span<const float> weights, const Grid& grid, int threads) {
  const std::vector<std::int64_t>&rows = grid.shape().row_segments,
        &cols = grid.shape().col_segments;
  Candidate candidate{{weights.begin(), weights.end()}, {}, {}};
  candidate.mask = magnitude_mask(dense_view(weights, grid.rows(), grid.cols()), grid.pattern(),
                                  {.row_segments = rows, .col_segments = cols, .threads = threads})
                       .mask;
  prune::clear_unkept(candidate.weights, candidate.mask, threads);
  return candidate;
}

}  // namespace

UpdateResult fisher_prune(std::span<float> weights, std::int64_t rows, std::int64_t cols,
                          const Pattern& pattern, const FisherStatistics& fisher,
                          const FisherOptions& options) {
  prune::check_damping(options.damping);
  const Grid grid(pattern, {rows, cols, options.row_segments, options.col_segments});
  check(weights, grid, fisher);
  UpdateResult result;
  result.mask = Mask(rows, cols);
  if (weights.empty()) return result;

  const double mean = prune::mean_square(fisher, rows * cols);
  const FisherModel model{fisher, fisher.blocks / rows, options.damping * mean};
  result.damping = options.damping;
  Candidate magnitude = by_magnitude(weights, grid, options.threads);
  Pruned pruned{magnitude};
  if (mean > 0) {
    pruned = run(weights, grid, model, options);
  } else {
    prune::add_note(result.note, "all gradients are zero: pruned by magnitude");
    result.magnitude_rows = rows;
  }
  if (pruned.raised > 0)
    prune::add_note(result.note, fmt::format("damping raised in {} of {} Fisher blocks",
                                             pruned.raised, fisher.blocks));
  if (pattern.has_inner())
    result.unproven_blocks = pruned.pairwise_groups * std::ssize(grid.vectors());

  const auto loss_of = [&](const float* other) {
    return losses(model, weights, other, cols, options.threads);
  };
  magnitude.errors = loss_of(magnitude.weights.data());
  Candidate& best = pruned.candidate;
  best.errors = loss_of(best.weights.data());
  result.magnitude_rows = prune::take_better(best, magnitude, grid);
  if (result.magnitude_rows > 0)
    prune::add_note(result.note,
                    fmt::format("magnitude was better in {} of {} rows, and kept there",
                                result.magnitude_rows, rows));
  const double whole = [&] {
    const std::vector<double> all = loss_of(nullptr);
    return std::accumulate(all.begin(), all.end(), 0.0);
  }();
  std::vector<float> uncompensated(weights.begin(), weights.end());
  prune::clear_unkept(uncompensated, best.mask, options.threads);
  result.uncompensated_error = relative(loss_of(uncompensated.data()), whole);
  result.magnitude_error = relative(magnitude.errors, whole);
  result.error = relative(best.errors, whole);
  std::ranges::copy(best.weights, weights.begin());
  result.mask = std::move(best.mask);
  return result;
}

}  // namespace coppice
