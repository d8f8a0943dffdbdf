#include "cpu/bf16_operands.h"

#include <algorithm>

#include "core/parallel_for.h"

namespace coppice::cpu {

TokenPanels::TokenPanels(std::int64_t tokens, std::int64_t most, std::int64_t unit)
    : tokens_(tokens),
      unit_(unit),
      count_(ceil_div(tokens, most)),
      width_(round_up(ceil_div(tokens, std::max<std::int64_t>(count_, 1)), unit)) {
  count_ = ceil_div(tokens, std::max<std::int64_t>(width_, 1));
}

std::int64_t TokenPanels::tokens(std::int64_t panel) const {
  return std::min(width_, tokens_ - token(panel));
}

std::int64_t TokenPanels::padded(std::int64_t panel) const {
  return round_up(tokens(panel), unit_);
}

KeptRows kept_rows(const KeptBits& kept, std::int64_t sliver, std::span<const std::uint16_t> values,
                   std::int64_t row, std::int64_t rows) {
  const std::span<const std::uint32_t> firsts = kept.firsts(sliver);
  const std::int64_t stride = kept.grid().kept();
  return {.values = values.data() + row * stride,
          .end = values.data() + values.size(),
          .stride = stride,
          .bits = kept.bits(sliver).data() + row,
          .firsts = firsts.size() == 1 ? nullptr : firsts.data() + row,
          .first = firsts[0],
          .rows = rows,
          .sparse = kept.sparse()};
}

int sliver_cols(const KeptBits& kept, std::int64_t sliver) {
  return static_cast<int>(
      std::min<std::int64_t>(kSliverCols, kept.grid().cols() - sliver * kSliverCols));
}

Bf16Matrix tokens_by_features(const Bf16Input& a) {
  const bool by_tokens = a.layout == Layout::token_major;
  return {a.data, a.tokens, a.features, by_tokens ? a.major_stride() : 1,
          by_tokens ? 1 : a.major_stride()};
}

Bf16Matrix features_by_tokens(const Bf16Input& a) {
  const Bf16Matrix m = tokens_by_features(a);
  return {m.data, m.k, m.rows, m.k_step, m.row_step};
}

// Rows of a block are a cache line further apart than they are long, so that those of a tile do not
// all lie in the same set of a cache.
LeftSide::LeftSide(const Bf16Matrix& from, std::int64_t block, Scratch& scratch, int threads)
    : rows_(from.rows),
      k_(from.k),
      block_(block),
      pitch_(std::min(block, round_up(from.k, 2)) + 32),
      as_rows_(from.k_step == 1) {
  const std::int64_t row_blocks = ceil_div(rows_, kLeftRows);
  data_ = scratch.room<std::uint16_t>(k_blocks() * row_blocks * kLeftRows * pitch_);
  parallel_for(k_blocks() * row_blocks, threads, [&](std::int64_t task) {
    const std::int64_t row = task % row_blocks * kLeftRows;
    const std::int64_t end = std::min(rows_, row + kLeftRows);
    if (as_rows_)
      copy_rows(from, task / row_blocks, row, end);
    else
      copy_pairs(from, task / row_blocks, row, end);
  });
}

std::int64_t LeftSide::k_blocks() const { return ceil_div(k_, block_); }

std::int64_t LeftSide::k_count(std::int64_t block) const {
  return std::min(block_, k_ - block * block_);
}

const std::uint16_t* LeftSide::at(std::int64_t row, std::int64_t block) const {
  const std::uint16_t* of_block = data_ + block * round_up(rows_, kLeftRows) * pitch_;
  if (as_rows_) return of_block + row * pitch_;
  return of_block + row / kLeftRows * kLeftRows * pitch_ + row % kLeftRows * 2;
}

void LeftSide::copy_rows(const Bf16Matrix& from, std::int64_t block, std::int64_t row,
                         std::int64_t end) const {
  for (; row < end; ++row) {
    auto* to = const_cast<std::uint16_t*>(at(row, block));
    to = std::copy_n(from.data + row * from.row_step + k(block), k_count(block), to);
    if (k_count(block) % 2 != 0) *to = 0;
  }
}

void LeftSide::copy_pairs(const Bf16Matrix& from, std::int64_t block, std::int64_t row,
                          std::int64_t end) const {
  const Bf16Kernels& kernels = *bf16_kernels();
  auto* to = const_cast<std::uint16_t*>(at(row, block));
  for (std::int64_t p = 0; p < pairs(block); ++p, to += pair_step()) {
    const std::uint16_t* even = from.data + (k(block) + 2 * p) * from.k_step + row;
    const bool both = 2 * p + 1 < k_count(block);
    kernels.pair(even, both ? even + from.k_step : nullptr, end - row, to);
  }
}

}  // namespace coppice::cpu
