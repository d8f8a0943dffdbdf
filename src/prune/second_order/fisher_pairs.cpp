#include "prune/second_order/fisher_pairs.h"

#include <algorithm>
#include <functional>
#include <limits>
#include <numeric>
#include <span>

#include "prune/second_order/fisher_curvature.h"

namespace coppice::prune {
namespace {

// Operations that a pass of exchanges may take in a row, one at a time and two.
constexpr double kMostWork = 1e6, kMostPairWork = 1e5;
// Choices of a row inside of the blocks that are looked at for every exchange.
constexpr std::size_t kMostInner = 100;
// What an exchange has to gain, as a share: more than rounding.
constexpr double kGain = 1e-10;

// wᵀ_Q (A_QQ)⁻¹ w_Q: twice what pruning the columns Q of the group costs.
double cost(const FisherRows& rows, std::int64_t r, const ColumnGroup& group,
            const KeptColumns& set, SmallSystem& scratch) {
  const std::size_t n = set.size();
  scratch.resize(n);
  double alone = 0;  // if there were no correlations
  for (std::size_t i = 0; i < n; ++i) {
    scratch.vector[i] = rows.weight(r, group.col + set[i]);
    for (std::size_t j = 0; j <= i; ++j)
      scratch.matrix[i * n + j] = rows.inverse(r, group.col + set[i], group.col + set[j]);
    const double pivot = scratch.matrix[i * n + i];
    if (pivot > 0) alone += scratch.vector[i] * scratch.vector[i] / pivot;
  }
  return scratch.solve(alone);
}

// Things that a pattern keeps or drops as a whole: columns of the group, the same in some rows.
using Units = std::vector<KeptColumns>;

KeptColumns columns_of(const Units& units, const std::vector<std::size_t>& chosen) {
  KeptColumns columns;
  for (std::size_t unit : chosen)
    columns.insert(columns.end(), units[unit].begin(), units[unit].end());
  return columns;
}

// Drops all but `keep` units in the rows [begin, end), two at a time. @returns those left
std::vector<std::size_t> drop_by_pairs(FisherRows& rows, std::int64_t begin, std::int64_t end,
                                       const ColumnGroup& group, const Units& units,
                                       std::size_t keep) {
  std::vector<std::size_t> left(units.size());
  std::iota(left.begin(), left.end(), std::size_t{0});
  SmallSystem scratch;
  while (left.size() > keep) {
    const bool pair = left.size() - keep > 1;
    std::vector<std::size_t> best = {left[0]};
    if (pair) best.push_back(left[1]);
    double least = std::numeric_limits<double>::infinity();
    for (std::size_t i = 0; i < left.size(); ++i)
      for (std::size_t j = pair ? i + 1 : i; j < (pair ? left.size() : i + 1); ++j) {
        std::vector<std::size_t> dropped = {left[i]};
        if (pair) dropped.push_back(left[j]);
        const KeptColumns columns = columns_of(units, dropped);
        double total = 0;
        for (std::int64_t r = begin; r < end && total < least; ++r)
          total += cost(rows, r, group, columns, scratch);
        if (!(total < least)) continue;
        least = total;
        best = dropped;
      }
    for (const std::int32_t c : columns_of(units, best))
      for (std::int64_t r = begin; r < end; ++r) rows.prune(r, group.col + c);
    std::erase_if(left, [&](std::size_t unit) { return std::ranges::count(best, unit) > 0; });
  }
  return left;
}

// Kept units and others, some of which change places.
struct Exchange {
  std::vector<std::size_t> positions, units;  // kept[positions[i]] becomes units[i]

  std::vector<std::size_t> of(std::vector<std::size_t> kept) const {
    for (std::size_t i = 0; i < units.size(); ++i) kept[positions[i]] = units[i];
    return kept;
  }
};

// Calls body(exchange) for every exchange of `count` kept units, 1 or 2.
template <typename Body>
void for_exchanges(const std::vector<std::size_t>& kept, std::size_t units, std::size_t count,
                   Body body) {
  std::vector<std::size_t> others;
  for (std::size_t unit = 0; unit < units; ++unit)
    if (std::ranges::count(kept, unit) == 0) others.push_back(unit);
  const auto for_subsets = [count](std::size_t of, auto visit) {
    for (std::size_t i = 0; i < of; ++i) {
      if (count == 1) visit(std::vector{i});
      for (std::size_t j = i + 1; count == 2 && j < of; ++j) visit(std::vector{i, j});
    }
  };
  for_subsets(kept.size(), [&](const std::vector<std::size_t>& positions) {
    for_subsets(others.size(), [&](const std::vector<std::size_t>& places) {
      Exchange exchange{positions, {}};
      for (std::size_t place : places) exchange.units.push_back(others[place]);
      body(exchange);
    });
  });
}

// Exchanges kept units for others while that raises value(kept), the best exchange first, two at a
// time where one does not help. @returns the value
template <typename Value>
double exchange(std::vector<std::size_t>& kept, std::size_t units, std::size_t most_at_once,
                Value value) {
  double current = value(kept);
  for (std::size_t count = 1, pass = 0; count <= most_at_once && pass < 2 * units; ++pass) {
    double most = current;
    Exchange best;
    for_exchanges(kept, units, count, [&](const Exchange& tried) {
      if (const double saved = value(tried.of(kept)); saved > most) {
        most = saved;
        best = tried;
      }
    });
    const bool gained = most - current > kGain * current;
    if (gained) {
      kept = best.of(kept);
      current = most;
    }
    count = gained ? 1 : count + 1;
  }
  return current;
}

// The `keep` units that cost most by themselves.
std::vector<std::size_t> most_costly(const FisherRows& rows, std::int64_t begin, std::int64_t end,
                                     const ColumnGroup& group, const Units& units,
                                     std::size_t keep) {
  SmallSystem scratch;
  std::vector<double> costs(units.size());
  for (std::size_t unit = 0; unit < units.size(); ++unit)
    for (std::int64_t r = begin; r < end; ++r)
      costs[unit] += cost(rows, r, group, units[unit], scratch);
  std::vector<std::size_t> order(units.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(order, std::greater(), [&](std::size_t unit) { return costs[unit]; });
  order.resize(keep);
  return order;
}

// The best of three starts, after exchanges: `kept`, `other`, and what neither of them has come
// to keep. at_once: 0 for no exchanges
template <typename Value>
std::vector<std::size_t> refine(std::vector<std::size_t> kept, std::vector<std::size_t> other,
                                std::size_t units, std::size_t at_once, Value value) {
  if (at_once == 0) return kept;
  double best = exchange(kept, units, at_once, value);
  const auto try_start = [&](std::vector<std::size_t> start) {
    const double saved = exchange(start, units, at_once, value);
    if (saved <= best * (1 + kGain)) return;
    best = saved;
    kept = std::move(start);
  };
  try_start(std::move(other));
  std::vector<std::size_t> opposite(units);
  std::iota(opposite.begin(), opposite.end(), std::size_t{0});
  std::ranges::stable_partition(
      opposite, [&](std::size_t unit) { return std::ranges::count(kept, unit) == 0; });
  opposite.resize(kept.size());
  try_start(std::move(opposite));
  return kept;
}

// Units that are exchanged at once: 0 to 2, by the operations that takes in a row.
std::size_t affordable(std::size_t kept, std::size_t units, std::size_t inner,
                       std::int64_t weights) {
  const auto n = static_cast<double>(weights), k = static_cast<double>(kept),
             others = static_cast<double>(units - kept);
  const double one = static_cast<double>(inner) * n * n * (n / 3 + 1);
  if (k * (k - 1) / 2 * others * (others - 1) / 2 * one <= kMostPairWork) return 2;
  return k * others * one <= kMostWork ? 1 : 0;
}

// All choices of `kept` of `of`; empty if there are too many or there is nothing to choose.
std::vector<std::vector<std::size_t>> list_choices(std::size_t of, std::size_t kept) {
  std::vector<std::vector<std::size_t>> choices;
  std::vector<std::uint8_t> chosen(of);
  std::fill_n(chosen.begin(), kept, std::uint8_t{1});
  if (kept == of) return choices;
  do {
    if (choices.size() == kMostInner) return {};
    choices.emplace_back();
    for (std::size_t i = 0; i < of; ++i)
      if (chosen[i] != 0) choices.back().push_back(i);
  } while (std::ranges::prev_permutation(chosen).found);
  return choices;
}

class PairChoice {
 public:
  PairChoice(const ColumnGroup& group, const FisherRows& rows)
      : group_(group),
        rows_(rows),
        curvatures_(curvatures(rows, group)),
        inner_(list_choices(static_cast<std::size_t>(group.kept_cols),
                            static_cast<std::size_t>(group.kept))) {}

  std::vector<KeptColumns> run() {
    const KeptColumns live = choose_blocks();
    std::vector<KeptColumns> kept(static_cast<std::size_t>(rows_.rows()), live);
    if (group_.kept == group_.kept_cols) return kept;
    FisherRows left = rows_;
    for (std::int64_t r = 0; r < rows_.rows(); ++r)
      kept[static_cast<std::size_t>(r)] =
          inner_.empty() ? inner_by_pairs(r, live, left) : best_inner(r, live).columns;
    return kept;
  }

 private:
  struct Inner {
    KeptColumns columns;
    double saving;
  };

  KeptColumns choose_blocks() {
    Units blocks(static_cast<std::size_t>(group_.blocks));
    for (std::int32_t c = 0; c < group_.cols; ++c)
      blocks[static_cast<std::size_t>(c / group_.block_cols)].push_back(c);
    FisherRows copy = rows_;
    const auto keep = static_cast<std::size_t>(group_.kept_blocks);
    auto kept = drop_by_pairs(copy, 0, rows_.rows(), group_, blocks, keep);
    const std::size_t at_once =
        affordable(keep, blocks.size(), std::max<std::size_t>(inner_.size(), 1),
                   inner_.empty() ? group_.kept_cols : group_.kept);
    kept = refine(kept, most_costly(rows_, 0, rows_.rows(), group_, blocks, keep), blocks.size(),
                  at_once, [&](const std::vector<std::size_t>& chosen) {
                    const KeptColumns live = columns_of(blocks, chosen);
                    double total = 0;
                    for (std::int64_t r = 0; r < rows_.rows(); ++r)
                      total += inner_.empty() ? saving(r, live) : best_inner(r, live).saving;
                    return total;
                  });
    KeptColumns live = columns_of(blocks, kept);
    std::ranges::sort(live);
    return live;
  }

  double saving(std::int64_t r, const KeptColumns& columns) {
    return curvatures_[static_cast<std::size_t>(r)].saving(std::span(columns), scratch_);
  }

  Inner best_inner(std::int64_t r, const KeptColumns& live) {
    Inner best{{}, -1};
    KeptColumns columns(static_cast<std::size_t>(group_.kept));
    for (const auto& choice : inner_) {
      std::ranges::transform(choice, columns.begin(), [&](std::size_t i) { return live[i]; });
      if (const double saved = saving(r, columns); saved > best.saving) best = {columns, saved};
    }
    return best;
  }

  KeptColumns inner_by_pairs(std::int64_t r, const KeptColumns& live, FisherRows& left) {
    Units singles;
    for (std::int32_t c = 0; c < group_.cols; ++c)
      if (std::ranges::binary_search(live, c))
        singles.push_back({c});
      else
        left.prune(r, group_.col + c);
    const auto keep = static_cast<std::size_t>(group_.kept);
    const auto other = most_costly(left, r, r + 1, group_, singles, keep);
    const auto kept = refine(drop_by_pairs(left, r, r + 1, group_, singles, keep), other,
                             singles.size(), affordable(keep, singles.size(), 1, group_.kept),
                             [&](const std::vector<std::size_t>& chosen) {
                               return saving(r, columns_of(singles, chosen));
                             });
    return columns_of(singles, kept);
  }

  const ColumnGroup& group_;
  const FisherRows& rows_;
  const std::vector<GroupCurvature> curvatures_;
  const std::vector<std::vector<std::size_t>> inner_;  // of the live columns; empty: too many
  SmallSystem scratch_;
};

}  // namespace

std::vector<KeptColumns> choose_by_pairs(const ColumnGroup& group, const FisherRows& rows) {
  return PairChoice(group, rows).run();
}

}  // namespace coppice::prune
