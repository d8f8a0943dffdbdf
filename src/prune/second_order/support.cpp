#include "prune/second_order/support.h"

#include <algorithm>

#include "prune/second_order/saliency_choice.h"

namespace coppice::prune {

Support::Support(const Grid& grid, std::span<const RowVector> vectors, ColumnSearch search)
    : grid_(grid),
      vectors_(vectors),
      search_(search),
      first_row_(vectors.front().row),
      rows_(vectors.back().row + vectors.back().rows - first_row_),
      bits_(static_cast<std::size_t>(rows_ * grid.cols()), 1),
      ones_(static_cast<std::size_t>(grid.cols()), 1.0) {}

void Support::choose(std::vector<float>& weights) {
  for (const ColumnGroup& group : grid_.groups()) {
    if (group.kept == group.cols) continue;
    keep_.resize(static_cast<std::size_t>(rows_ * group.cols));
    choose_by_saliency({&group, vectors_, weights.data() + group.col, grid_.cols(), keep_.data()},
                       grid_.pattern(), search_, ones_, scratch_);
    for (std::int64_t r = 0; r < rows_; ++r)
      std::copy_n(keep_.begin() + r * group.cols, group.cols,
                  bits_.begin() + r * grid_.cols() + group.col);
  }
}

void Support::load(const Mask& mask) {
  for (std::int64_t r = 0; r < rows_; ++r)
    for (std::int64_t c = 0; c < grid_.cols(); ++c)
      bits_[static_cast<std::size_t>(r * grid_.cols() + c)] = mask.get(first_row_ + r, c) ? 1 : 0;
}

void Support::store(Mask& mask) const {
  for (std::int64_t r = 0; r < rows_; ++r)
    for (std::int64_t c = 0; c < grid_.cols(); ++c)
      if (bits_[static_cast<std::size_t>(r * grid_.cols() + c)] != 0) mask.set(first_row_ + r, c);
}

void Support::clear_rest(std::vector<float>& matrix) const {
  for (std::size_t i = 0; i < matrix.size(); ++i)
    if (bits_[i] == 0) matrix[i] = 0;
}

std::int64_t Support::count() const { return std::ranges::count(bits_, std::uint8_t{1}); }

std::int64_t Support::distance(const std::vector<std::uint8_t>& other) const {
  std::int64_t differ = 0;
  for (std::size_t i = 0; i < bits_.size(); ++i) differ += bits_[i] != other[i] ? 1 : 0;
  return differ;
}

}  // namespace coppice::prune
