#include <algorithm>
#include <bit>

#include "coppice/gradient.h"
#include "core/rounding.h"
#include "cpu/stored_places.h"

namespace coppice {
namespace {

bool is_sparse(std::uint64_t bits) {
  return std::popcount(bits & 0xffff'ffff) <= 16 && std::popcount(bits >> 32) <= 16;
}

}  // namespace

KeptBits::KeptBits(const SparseView& weight, int threads)
    : grid_(weight.grid),
      input_permutation_(weight.input_permutation.begin(), weight.input_permutation.end()) {
  read_rows(weight, threads);
  sparse_ = std::ranges::all_of(bits_, is_sparse);
  join_rows(threads);
  share_firsts();
}

void KeptBits::read_rows(const SparseView& weight, int threads) {
  const std::int64_t rows = grid_->rows();
  bits_.resize(static_cast<std::size_t>(slivers() * rows));
  firsts_.resize(bits_.size());
  for_each_stored_row(weight, threads, [&](std::int64_t row, std::span<const std::int32_t> places) {
    for (const std::int32_t place : places)
      bits_[static_cast<std::size_t>(place / kCols * rows + row)] |= std::uint64_t{1}
                                                                     << place % kCols;
    std::uint32_t before = 0;
    for (std::int64_t s = 0; s < slivers(); ++s) {
      const auto at = static_cast<std::size_t>(s * rows + row);
      firsts_[at] = before;
      before += static_cast<std::uint32_t>(std::popcount(bits_[at]));
    }
  });
}

void KeptBits::join_rows(int threads) {
  const std::int64_t rows = grid_->rows(), cols = grid_->cols();
  const std::int64_t blocks = ceil_div(rows, 2 * kPairs);
  pairs_.resize(static_cast<std::size_t>(blocks * cols));
  parallel_for(blocks, threads, [&](std::int64_t block) {
    for (std::int64_t s = 0; s < slivers(); ++s)
      for (std::int64_t r = block * 2 * kPairs; r < std::min(rows, (block + 1) * 2 * kPairs); ++r)
        for (std::uint64_t left = bits_[static_cast<std::size_t>(s * rows + r)]; left != 0;
             left &= left - 1)
          pairs_[static_cast<std::size_t>(block * cols + s * kCols + std::countr_zero(left))] |=
              std::uint64_t{1} << (r / 2 % kPairs);
  });
  std::int64_t kept = 0;
  for (const std::uint64_t bits : pairs_) kept += std::popcount(bits);
  const std::int64_t all = ceil_div(rows, 2) * cols;
  if (all > 0) pair_density_ = static_cast<double>(kept) / static_cast<double>(all);
}

void KeptBits::share_firsts() {
  if (grid_->rows() == 0) return;
  for (std::int64_t s = 0; s < slivers(); ++s) {
    const auto of = firsts(s);
    if (!std::ranges::all_of(of, [&](std::uint32_t first) { return first == of[0]; })) return;
  }
  for (std::int64_t s = 0; s < slivers(); ++s)
    firsts_[static_cast<std::size_t>(s)] = firsts_[static_cast<std::size_t>(s * grid_->rows())];
  firsts_.resize(static_cast<std::size_t>(slivers()));
  firsts_.shrink_to_fit();
}

}  // namespace coppice
