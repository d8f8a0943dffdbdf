#include "prune/panel.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstring>

namespace coppice::prune {
namespace {

int round_up(int value, int unit) { return (value + unit - 1) / unit * unit; }

// The transpose of 8 x 8 bits: bit c of byte r goes to bit r of byte c. (Swaps the off-diagonal
// blocks of size 4, 2 and 1.)
std::uint64_t transpose8x8(std::uint64_t x) {
  auto swap_blocks = [&x](int distance, std::uint64_t upper) {
    const std::uint64_t differ = (x ^ (x >> distance)) & upper;
    x ^= differ ^ (differ << distance);
  };
  swap_blocks(28, 0x00000000f0f0f0f0);
  swap_blocks(14, 0x0000cccc0000cccc);
  swap_blocks(7, 0x00aa00aa00aa00aa);
  return x;
}

static_assert(std::endian::native == std::endian::little);

}  // namespace

ScorePanel::ScorePanel(const DenseView& scores, const Tile& tile)
    : first_col_(tile.col()),
      pitch_(round_up(tile.rows, kPanelRows)),
      keys_(hwy::AllocateAligned<std::int32_t>(static_cast<std::size_t>(pitch_) *
                                               static_cast<std::size_t>(tile.cols()))) {
  const PanelKernels& kernels = panel_kernels();
  const int cols = tile.cols();
  const auto width = static_cast<std::size_t>(cols);
  const std::size_t stride = width + kPanelRows;  // no power of two: rows would fight for one place
  std::vector<float> rows(kPanelRows * stride);   // in the cache

  for (int first = 0; first < tile.rows; first += kPanelRows) {
    const int filled = std::min(kPanelRows, tile.rows - first);
    if (filled < kPanelRows) std::ranges::fill(rows, 0.0f);
    for (int r = 0; r < filled; ++r) {
      const std::byte* from =
          scores.row(tile.row + first + r) + first_col_ * dtype_bytes(scores.dtype);
      to_float(scores.dtype, from, {rows.data() + static_cast<std::size_t>(r) * stride, width});
    }
    largest_ =
        std::max(largest_, kernels.transpose(rows.data(), static_cast<std::ptrdiff_t>(stride), cols,
                                             pitch_, keys_.get() + first));
    double sums[kPanelRows] = {};
    kernels.add_scores(keys_.get() + first, cols, pitch_, sums);
    for (double sum : sums) total_score_ += sum;
  }
}

PanelBits::PanelBits(const Tile& tile)
    : row_(tile.row),
      rows_(tile.rows),
      first_word_(tile.col() / 64),
      width_((tile.col() + tile.cols() + 63) / 64 * 64 - first_word_ * 64),
      planes_(static_cast<std::size_t>(round_up(tile.rows, kPanelRows) / 8 * width_)) {}

void PanelBits::write(Mask& mask) const {
  const auto words = static_cast<std::size_t>(width_ / 64);
  std::vector<std::uint64_t> rows(8 * words);  // [8, words]
  for (std::int64_t first = 0; first < rows_; first += 8) {
    const std::uint8_t* plane = planes_.data() + first / 8 * width_;
    std::ranges::fill(rows, 0);
    for (std::int64_t col = 0; col < width_; col += 8) {
      std::uint64_t block;
      std::memcpy(&block, plane + col, sizeof(block));
      block = transpose8x8(block);
      for (std::size_t r = 0; r < 8; ++r)
        rows[r * words + static_cast<std::size_t>(col / 64)] |= (block >> (8 * r) & 0xff)
                                                                << (col % 64);
    }
    for (std::int64_t r = first; r < std::min(first + 8, rows_); ++r)
      set_bits(mask, row_ + r, first_word_,
               {rows.data() + static_cast<std::size_t>(r - first) * words, words});
  }
}

void set_bits(Mask& mask, std::int64_t row, std::int64_t first_word,
              std::span<const std::uint64_t> bits) {
  const auto words = mask.row(row).subspan(static_cast<std::size_t>(first_word), bits.size());
  for (std::size_t i = 1; i + 1 < bits.size(); ++i) words[i] |= bits[i];
  std::atomic_ref(words.front()).fetch_or(bits.front(), std::memory_order_relaxed);
  if (bits.size() > 1)
    std::atomic_ref(words.back()).fetch_or(bits.back(), std::memory_order_relaxed);
}

}  // namespace coppice::prune
