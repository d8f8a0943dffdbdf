#include "prune/second_order/joint_choice.h"

#include <algorithm>
#include <array>
#include <map>
#include <numeric>

#include "prune/second_order/lapack.h"

namespace coppice::prune {
namespace {

// What a row may cost: all of these are operations on each row of each group.
constexpr int kMaxCols = 32;
constexpr std::int64_t kMaxLookups = 12000;  // 64:2:16 has 1820 choices of 6 sets
constexpr std::int64_t kMaxFactors = 8192;   // numbers in the factors of all sets

std::int64_t binomial(std::int64_t n, std::int64_t k) {
  std::int64_t result = 1;
  for (std::int64_t i = 1; i <= k && result <= kMaxLookups; ++i) result = result * (n - k + i) / i;
  return result;
}

// Calls body(indices) for each choice of `kept` of `of`, in lexicographic order.
template <typename Body>
void for_choices(int of, int kept, Body body) {
  std::vector<int> choice(static_cast<std::size_t>(kept));
  std::iota(choice.begin(), choice.end(), 0);
  for (;;) {
    body(choice);
    int i = kept - 1;
    while (i >= 0 && choice[static_cast<std::size_t>(i)] == of - kept + i) --i;
    if (i < 0) return;
    std::iota(choice.begin() + i, choice.end(), choice[static_cast<std::size_t>(i)] + 1);
  }
}

}  // namespace

std::shared_ptr<const KeptSets> list_kept_sets(const ColumnGroup& group) {
  if (group.cols > kMaxCols) return nullptr;
  const std::int64_t outers = binomial(group.blocks, group.kept_blocks);
  const std::int64_t inners = binomial(group.kept_cols, group.kept);
  if (outers > kMaxLookups || outers * inners > kMaxLookups) return nullptr;

  auto sets = std::make_shared<KeptSets>();
  sets->cols = group.cols;
  sets->kept = group.kept;
  sets->per_outer = static_cast<int>(inners);
  std::map<std::uint32_t, std::uint16_t> known;  // by the bits of the columns
  std::vector<std::uint8_t> live;
  for_choices(group.blocks, group.kept_blocks, [&](const std::vector<int>& blocks) {
    live.clear();
    for (int block : blocks)
      for (int c = 0; c < group.block_cols; ++c)
        live.push_back(static_cast<std::uint8_t>(block * group.block_cols + c));
    for_choices(group.kept_cols, group.kept, [&](const std::vector<int>& columns) {
      std::uint32_t bits = 0;
      for (int c : columns) bits |= std::uint32_t{1} << live[static_cast<std::size_t>(c)];
      const auto [at, added] = known.try_emplace(bits, static_cast<std::uint16_t>(known.size()));
      if (added)
        for (int c : columns) sets->columns.push_back(live[static_cast<std::size_t>(c)]);
      sets->outer.push_back(at->second);
    });
  });
  if (sets->sets() * group.kept * group.kept > kMaxFactors) return nullptr;
  return sets;
}

std::int64_t best_outer(const KeptSets& sets, const std::vector<double>& savings,
                        std::int64_t rows) {
  std::int64_t best = 0;
  double most = -1;
  const std::uint16_t* outer = sets.outer.data();
  for (std::int64_t o = 0; o < sets.outers(); ++o, outer += sets.per_outer) {
    double total = 0;
    const double* row = savings.data();
    for (std::int64_t r = 0; r < rows; ++r, row += sets.sets()) {
      double largest = row[outer[0]];
      for (int i = 1; i < sets.per_outer; ++i) largest = std::max(largest, row[outer[i]]);
      total += largest;
    }
    if (total > most) {
      most = total;
      best = o;
    }
  }
  return best;
}

std::int64_t best_inner(const KeptSets& sets, std::int64_t outer, const double* savings) {
  const std::uint16_t* first = sets.outer.data() + outer * sets.per_outer;
  return *std::max_element(
      first, first + sets.per_outer,
      [savings](std::uint16_t a, std::uint16_t b) { return savings[a] < savings[b]; });
}

JointGroup::JointGroup(std::shared_ptr<const KeptSets> sets, const InverseFactor& factor,
                       const ColumnGroup& group)
    : sets_(std::move(sets)) {
  const std::int64_t m = sets_->cols, kept = sets_->kept;
  const auto square = static_cast<std::size_t>(m * m);
  // LAPACK's lower triangle is the transpose: U_GGᵀ, inverted.
  std::vector<double> lower(square);
  for (std::int64_t i = 0; i < m; ++i)
    for (std::int64_t j = i; j < m; ++j)
      lower[static_cast<std::size_t>(j * m + i)] = factor.at(group.col + i, group.col + j);
  usable_ = invert_lower(lower.data(), m);
  inverse_.resize(square);
  for (std::int64_t i = 0; i < m; ++i)
    for (std::int64_t j = i; j < m; ++j)
      inverse_[static_cast<std::size_t>(i * m + j)] = lower[static_cast<std::size_t>(j * m + i)];
  curvature_.resize(square);
  const Panel<const double> left{inverse_.data(), m, m, m}, right{lower.data(), m, m, m};
  multiply(1.0, left, right, 0.0, {curvature_.data(), m, m, m});

  set_factors_.resize(static_cast<std::size_t>(sets_->sets() * kept * kept));
  for (std::int64_t s = 0; s < sets_->sets(); ++s) {
    double* l = set_factors_.data() + s * kept * kept;
    for (std::int64_t i = 0; i < kept; ++i)
      for (std::int64_t j = 0; j <= i; ++j)
        l[i * kept + j] =
            curvature_[static_cast<std::size_t>(sets_->set(s)[i] * m + sets_->set(s)[j])];
    usable_ = usable_ && factorise_lower(l, kept) && invert_lower(l, kept);
  }
}

// ‖L⁻¹ g_P‖²
double JointGroup::saving(std::int64_t set, const double* gradient) const {
  const std::uint8_t* columns = sets_->set(set);
  const double* l = factor_of(set);
  double sum = 0;
  for (int i = 0; i < sets_->kept; ++i, l += sets_->kept) {
    double y = 0;
    for (int j = 0; j <= i; ++j) y += l[j] * gradient[columns[j]];
    sum += y * y;
  }
  return sum;
}

void JointGroup::gradient(const float* row, double* out) const {
  const double* k = curvature_.data();
  for (int i = 0; i < sets_->cols; ++i, k += sets_->cols)
    out[i] = std::inner_product(k, k + sets_->cols, row, 0.0);
}

void JointGroup::settle(float* row, std::uint8_t* keep, std::int64_t set, float* errors) const {
  const int m = sets_->cols, kept = sets_->kept;
  const std::uint8_t* columns = sets_->set(set);
  std::array<double, kMaxCols> g, y{}, change;
  gradient(row, g.data());
  const double* l = factor_of(set);
  for (int i = 0; i < kept; ++i)
    for (int j = 0; j <= i; ++j) y[static_cast<std::size_t>(i)] += l[i * kept + j] * g[columns[j]];
  std::copy(row, row + m, change.begin());
  std::fill(row, row + m, 0.0f);
  std::fill(keep, keep + m, std::uint8_t{0});
  for (int j = 0; j < kept; ++j) {
    double v = 0;
    for (int i = j; i < kept; ++i) v += l[i * kept + j] * y[static_cast<std::size_t>(i)];
    row[columns[j]] = static_cast<float>(v);
    change[columns[j]] -= row[columns[j]];
    keep[columns[j]] = 1;
  }
  for (int j = 0; j < m; ++j) {
    double e = 0;
    for (int i = 0; i <= j; ++i)
      e += inverse_[static_cast<std::size_t>(i * m + j)] * change[static_cast<std::size_t>(i)];
    errors[j] = static_cast<float>(e);
  }
}

void JointGroup::choose(const GroupSlab& slab, float* errors, std::int64_t error_stride) const {
  std::array<double, kMaxCols> g;
  std::vector<double> savings;
  const std::int64_t sets = sets_->sets();
  for (const RowVector& vector : slab.vectors) {
    const std::int64_t first = vector.row - slab.first_row();
    savings.resize(static_cast<std::size_t>(vector.rows * sets));
    for (std::int64_t r = 0; r < vector.rows; ++r) {
      gradient(slab.row(first + r), g.data());
      for (std::int64_t s = 0; s < sets; ++s)
        savings[static_cast<std::size_t>(r * sets + s)] = saving(s, g.data());
    }
    const std::int64_t outer = best_outer(*sets_, savings, vector.rows);
    for (std::int64_t r = 0; r < vector.rows; ++r)
      settle(slab.row(first + r), slab.keep_row(first + r),
             best_inner(*sets_, outer, savings.data() + r * sets),
             errors + (first + r) * error_stride);
  }
}

}  // namespace coppice::prune
