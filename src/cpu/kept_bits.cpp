#include <algorithm>
#include <bit>

#include "coppice/gradient.h"
#include "core/parallel_for.h"
#include "core/rounding.h"
#include "format/choice_code.h"

namespace coppice {

KeptBits::KeptBits(const SparseView& weight, int threads)
    : grid_(weight.grid),
      input_permutation_(weight.input_permutation.begin(), weight.input_permutation.end()) {
  const std::int64_t rows = grid_->rows();
  const auto all = static_cast<std::size_t>(slivers() * rows);
  bits_.resize(all);
  firsts_.resize(all);
  SparseView in_place = weight;
  in_place.input_permutation = {};
  const auto vectors = grid_->vectors();
  parallel_ranges(std::ssize(vectors), threads, [&](std::int64_t begin, std::int64_t end, int) {
    StoredColumns stored(in_place);
    for (std::int64_t v = begin; v < end; ++v) {
      stored.seek(v);
      const RowVector of = vectors[static_cast<std::size_t>(v)];
      for (std::int64_t r = of.row; r < of.row + of.rows; ++r) {
        for (const std::int32_t place : stored.row(r))
          bits_[static_cast<std::size_t>(place / kCols * rows + r)] |= std::uint64_t{1}
                                                                       << place % kCols;
        std::uint32_t before = 0;
        for (std::int64_t s = 0; s < slivers(); ++s) {
          const auto at = static_cast<std::size_t>(s * rows + r);
          firsts_[at] = before;
          before += static_cast<std::uint32_t>(std::popcount(bits_[at]));
        }
      }
    }
  });
  sparse_ = std::ranges::all_of(bits_, [](std::uint64_t bits) {
    return std::popcount(bits & 0xffff'ffff) <= 16 && std::popcount(bits >> 32) <= 16;
  });
  const std::int64_t blocks = ceil_div(rows, 2 * kPairs), cols = grid_->cols();
  pairs_.resize(static_cast<std::size_t>(blocks * cols));
  parallel_for(blocks, threads, [&](std::int64_t block) {
    for (std::int64_t s = 0; s < slivers(); ++s)
      for (std::int64_t r = block * 2 * kPairs; r < std::min(rows, (block + 1) * 2 * kPairs); ++r)
        for (std::uint64_t left = bits_[static_cast<std::size_t>(s * rows + r)]; left != 0;
             left &= left - 1)
          pairs_[static_cast<std::size_t>(block * cols + s * kCols + std::countr_zero(left))] |=
              std::uint64_t{1} << (r / 2 % kPairs);
  });
  std::int64_t kept_pairs = 0;
  for (const std::uint64_t bits : pairs_) kept_pairs += std::popcount(bits);
  const std::int64_t all_pairs = ceil_div(rows, 2) * cols;
  if (all_pairs > 0)
    pair_density_ = static_cast<double>(kept_pairs) / static_cast<double>(all_pairs);
  // Where whole groups fill a sliver, its weights begin at the same place in every row.
  const auto starts_alike = [&](std::int64_t s) {
    const auto of = firsts(s);
    return std::ranges::all_of(of, [&](std::uint32_t first) { return first == of[0]; });
  };
  for (std::int64_t s = 0; s < slivers(); ++s)
    if (rows == 0 || !starts_alike(s)) return;
  for (std::int64_t s = 0; s < slivers(); ++s)
    firsts_[static_cast<std::size_t>(s)] = firsts_[static_cast<std::size_t>(s * rows)];
  firsts_.resize(static_cast<std::size_t>(slivers()));
  firsts_.shrink_to_fit();
}

}  // namespace coppice
