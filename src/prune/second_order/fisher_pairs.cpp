#include "prune/second_order/fisher_pairs.h"

#include <algorithm>
#include <functional>
#include <limits>
#include <numeric>
#include <span>

#include "prune/second_order/fisher_savings.h"

namespace coppice::prune {
namespace {

// Operations that a pass of exchanges may take in a row, one at a time and two.
constexpr double kMostWork = 3e5, kMostPairWork = 1e4;
// Choices of a row inside of the blocks that are looked at for every exchange.
constexpr std::size_t kMostInner = 100;

// Things that a pattern keeps or drops as a whole: columns of the group, the same in some rows.
using Units = std::vector<KeptColumns>;

void append(KeptColumns& columns, const KeptColumns& unit) {
  columns.insert(columns.end(), unit.begin(), unit.end());
}

KeptColumns columns_of(const Units& units, const UnitList& chosen) {
  KeptColumns columns;
  for (std::size_t unit : chosen) append(columns, units[unit]);
  return columns;
}

double cost_alone(const GroupRow& row, std::size_t c) {
  return row.at(c, c) > 0 ? row.w[c] * row.w[c] / row.at(c, c) : 0;
}

// wᵀ_Q (A_QQ)⁻¹ w_Q: twice what pruning the columns Q of the group costs. Where A_QQ is not
// positive, as if there were no correlations.
double cost(const GroupRow& row, const KeptColumns& set, SmallSystem& scratch) {
  const std::size_t n = set.size();
  if (n == 1) return cost_alone(row, static_cast<std::size_t>(set[0]));
  double alone = 0;
  for (const std::int32_t c : set) alone += cost_alone(row, static_cast<std::size_t>(c));
  if (n == 2) {
    const auto i = static_cast<std::size_t>(set[0]), j = static_cast<std::size_t>(set[1]);
    const double aii = row.at(i, i), ajj = row.at(j, j), aij = row.at(i, j);
    const double determinant = aii * ajj - aij * aij;
    if (!(determinant > 0)) return alone;
    return (row.w[i] * row.w[i] * ajj - 2 * row.w[i] * row.w[j] * aij + row.w[j] * row.w[j] * aii) /
           determinant;
  }
  scratch.resize(n);
  for (std::size_t i = 0; i < n; ++i) {
    scratch.vector[i] = row.w[static_cast<std::size_t>(set[i])];
    for (std::size_t j = 0; j <= i; ++j)
      scratch.matrix[i * n + j] =
          row.at(static_cast<std::size_t>(set[i]), static_cast<std::size_t>(set[j]));
  }
  return scratch.solve(alone);
}

// Drops all but `keep` units in the rows, two at a time. @returns those left
UnitList drop_by_pairs(std::span<GroupRow> rows, const Units& units, std::size_t keep) {
  UnitList left(units.size());
  std::iota(left.begin(), left.end(), std::size_t{0});
  SmallSystem scratch;
  KeptColumns columns;
  while (left.size() > keep) {
    const bool pair = left.size() - keep > 1;
    std::size_t first = 0, second = pair ? 1 : 0;
    double least = std::numeric_limits<double>::infinity();
    for (std::size_t i = 0; i < left.size(); ++i)
      for (std::size_t j = pair ? i + 1 : i; j < (pair ? left.size() : i + 1); ++j) {
        columns = units[left[i]];
        if (pair) append(columns, units[left[j]]);
        double total = 0;
        for (std::size_t r = 0; r < rows.size() && total < least; ++r)
          total += cost(rows[r], columns, scratch);
        if (!(total < least)) continue;
        least = total;
        first = i;
        second = j;
      }
    columns = units[left[first]];
    if (pair) append(columns, units[left[second]]);
    for (GroupRow& row : rows)
      for (const std::int32_t c : columns) row.prune(static_cast<std::size_t>(c));
    if (pair) left.erase(left.begin() + static_cast<std::ptrdiff_t>(second));
    left.erase(left.begin() + static_cast<std::ptrdiff_t>(first));
  }
  return left;
}

// The `keep` units that cost most by themselves.
UnitList most_costly(std::span<const GroupRow> rows, const Units& units, std::size_t keep) {
  SmallSystem scratch;
  std::vector<double> costs(units.size());
  for (std::size_t unit = 0; unit < units.size(); ++unit)
    for (const GroupRow& row : rows) costs[unit] += cost(row, units[unit], scratch);
  UnitList order(units.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(order, std::greater(), [&](std::size_t unit) { return costs[unit]; });
  order.resize(keep);
  return order;
}

// Units that are exchanged at once: 0 to 2, by the operations that takes in a row.
std::size_t affordable(std::size_t kept, std::size_t units, double work) {
  const auto k = static_cast<double>(kept), others = static_cast<double>(units - kept);
  if (k * (k - 1) / 2 * others * (others - 1) / 2 * work <= kMostPairWork) return 2;
  return k * others * work <= kMostWork ? 1 : 0;
}

// All choices of `kept` of `of`; empty if there are too many or there is nothing to choose.
std::vector<UnitList> list_choices(std::size_t of, std::size_t kept) {
  std::vector<UnitList> choices;
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

// The savings of all rows together, for UnitExchange. Units are columns of the group, or of
// `listed` if that is not empty.
struct ColumnScan {
  std::span<const GroupCurvature> rows;
  const KeptColumns& listed;
  FisherSavings& savings;

  UnitList columns(UnitList units) const {
    for (std::size_t& unit : units)
      if (!listed.empty()) unit = static_cast<std::size_t>(listed[unit]);
    return units;
  }
  void operator()(const UnitList& base, const UnitList& candidates,
                  std::vector<double>& values) const {
    values.assign(candidates.size(), 0.0);
    const UnitList kept = columns(base), others = columns(candidates);
    for (const GroupCurvature& row : rows) savings.add(row, kept, others, values);
  }
  void exchanges(const UnitList& base, const UnitList& candidates,
                 std::vector<double>& values) const {
    values.assign(base.size() * candidates.size(), 0.0);
    const UnitList kept = columns(base), others = columns(candidates);
    for (const GroupCurvature& row : rows) savings.add_exchanges(row, kept, others, values);
  }
};

class PairChoice {
 public:
  PairChoice(const ColumnGroup& group, const FisherRows& rows)
      : group_(group),
        rows_(group_rows(rows, group)),
        curvatures_(rows_.begin(), rows_.end()),
        inner_(list_choices(static_cast<std::size_t>(group.kept_cols),
                            static_cast<std::size_t>(group.kept))) {}

  std::vector<KeptColumns> run() {
    const KeptColumns live = choose_blocks();
    std::vector<KeptColumns> kept(rows_.size(), live);
    if (group_.kept == group_.kept_cols) return kept;
    for (std::size_t r = 0; r < rows_.size(); ++r)
      kept[r] = inner_.empty() ? inner_by_pairs(r, live) : best_inner(r, live).columns;
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
    const auto keep = static_cast<std::size_t>(group_.kept_blocks);
    std::vector<GroupRow> left = rows_;
    UnitList kept = drop_by_pairs(left, blocks, keep);
    const UnitList other = most_costly(rows_, blocks, keep);
    const auto n = static_cast<double>(inner_.empty() ? group_.kept_cols : group_.kept);
    if (inner_.empty() && group_.block_cols == 1) {
      kept = exchange(kept, other, blocks.size(), n * n / 2, 0, rows_.size(), {});
    } else {
      const double choices = std::max(1.0, static_cast<double>(inner_.size()));
      const auto scan = [&](const UnitList& base, const UnitList& candidates,
                            std::vector<double>& values) {
        scan_blocks(blocks, base, candidates, values);
      };
      if (const auto at_once = affordable(keep, blocks.size(), choices * n * n * (n / 3 + 1)))
        kept = UnitExchange(blocks.size(), at_once, scan).best_of(kept, other);
    }
    KeptColumns live = columns_of(blocks, kept);
    std::ranges::sort(live);
    return live;
  }

  // Where units are columns (the group's own, or those listed), in the rows [begin, end).
  UnitList exchange(const UnitList& kept, const UnitList& other, std::size_t units, double work,
                    std::size_t begin, std::size_t end, const KeptColumns& listed) {
    const std::size_t at_once = affordable(kept.size(), units, work);
    if (at_once == 0) return kept;
    const ColumnScan scan{std::span(curvatures_).subspan(begin, end - begin), listed, savings_};
    return UnitExchange(units, at_once, scan).best_of(kept, other);
  }

  void scan_blocks(const Units& blocks, const UnitList& base, const UnitList& candidates,
                   std::vector<double>& values) {
    values.assign(candidates.size(), 0.0);
    const KeptColumns columns = columns_of(blocks, base);
    for (std::size_t i = 0; i < candidates.size(); ++i) {
      KeptColumns live = columns;
      append(live, blocks[candidates[i]]);
      for (std::size_t r = 0; r < rows_.size(); ++r)
        values[i] += inner_.empty() ? saving(r, live) : best_inner(r, live).saving;
    }
  }

  double saving(std::size_t r, const KeptColumns& columns) {
    return curvatures_[r].saving(std::span(columns), scratch_);
  }

  Inner best_inner(std::size_t r, const KeptColumns& live) {
    Inner best{{}, -1};
    KeptColumns columns(static_cast<std::size_t>(group_.kept));
    for (const UnitList& choice : inner_) {
      std::ranges::transform(choice, columns.begin(), [&](std::size_t i) { return live[i]; });
      if (const double saved = saving(r, columns); saved > best.saving) best = {columns, saved};
    }
    return best;
  }

  KeptColumns inner_by_pairs(std::size_t r, const KeptColumns& live) {
    GroupRow left = rows_[r];
    for (std::int32_t c = 0; c < group_.cols; ++c)
      if (!std::ranges::binary_search(live, c)) left.prune(static_cast<std::size_t>(c));
    Units singles;
    for (const std::int32_t c : live) singles.push_back({c});
    const auto keep = static_cast<std::size_t>(group_.kept);
    const UnitList other = most_costly(std::span(&left, 1), singles, keep);
    const UnitList kept = drop_by_pairs(std::span(&left, 1), singles, keep);
    const auto n = static_cast<double>(keep);
    return columns_of(singles, exchange(kept, other, singles.size(), n * n / 2, r, r + 1, live));
  }

  const ColumnGroup& group_;
  const std::vector<GroupRow> rows_;
  const std::vector<GroupCurvature> curvatures_;
  const std::vector<UnitList> inner_;  // of the live columns; empty: too many
  SmallSystem scratch_;
  FisherSavings savings_;
};

}  // namespace

std::vector<KeptColumns> choose_by_pairs(const ColumnGroup& group, const FisherRows& rows) {
  return PairChoice(group, rows).run();
}

}  // namespace coppice::prune
