// Reading choices out of a mask: the rows of a vector merged, and ChoiceSet, what is chosen of one
// group, as a bitset.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <span>

#include "coppice/mask.h"
#include "format/choice_code.h"

namespace coppice {

/// `count` bits (1 to 64) of a mask row, from column `begin` on.
inline std::uint64_t load_bits(std::span<const std::uint64_t> words, std::int64_t begin,
                               int count) {
  const std::uint64_t* word = words.data() + (begin >> 6);
  const int shift = static_cast<int>(begin & 63);
  std::uint64_t bits = word[0] >> shift;
  if (shift + count > 64) bits |= word[1] << (64 - shift);
  return bits & low_bits(count);
}

/// True if one of `count` bits of a mask row is set, from column `begin` on.
inline bool any_bit(std::span<const std::uint64_t> words, std::int64_t begin, int count) {
  for (; count > 0; begin += 64, count -= 64)
    if (load_bits(words, begin, std::min(count, 64)) != 0) return true;
  return false;
}

/// The columns that some row of a vector keeps: OR of its mask rows.
inline void merge_rows(const Mask& mask, const RowVector& vector, std::span<std::uint64_t> merged) {
  std::ranges::copy(mask.row(vector.row), merged.begin());
  for (std::int64_t row = vector.row + 1; row < vector.row + vector.rows; ++row) {
    const auto words = mask.row(row);
    for (std::size_t w = 0; w < merged.size(); ++w) merged[w] |= words[w];
  }
}

/// Some of up to 256 things.
class ChoiceSet {
 public:
  /// The blocks of a group that have a bit set in a mask row in grid order.
  static ChoiceSet blocks(std::span<const std::uint64_t> mask_row, const ColumnGroup& group) {
    return group.block_cols == 1 ? columns(mask_row, group) : wide_blocks(mask_row, group);
  }

  /// The columns of a group (all of them, at most 256) that have a bit set in a mask row.
  static ChoiceSet columns(std::span<const std::uint64_t> mask_row, const ColumnGroup& group) {
    ChoiceSet set(group.cols);
    for (int w = 0; w < set.word_count_; ++w)
      set.words_[static_cast<std::size_t>(w)] =
          load_bits(mask_row, group.col + 64 * w, std::min(group.cols - 64 * w, 64));
    return set;
  }

  /// Which of the given columns (at most 256) have a bit set in a mask row.
  static ChoiceSet of_columns(std::span<const std::uint64_t> mask_row,
                              std::span<const std::int32_t> columns) {
    ChoiceSet set(static_cast<int>(columns.size()));
    for (std::size_t i = 0; i < columns.size(); ++i) {
      const std::int32_t col = columns[i];
      const std::uint64_t bit = mask_row[static_cast<std::size_t>(col >> 6)] >> (col & 63) & 1;
      set.words_[i >> 6] |= bit << (i & 63);
    }
    return set;
  }

  /// These of `size` things.
  static ChoiceSet of(int size, std::span<const int> chosen) {
    ChoiceSet set(size);
    for (int thing : chosen)
      set.words_[static_cast<std::size_t>(thing >> 6)] |= std::uint64_t{1} << (thing & 63);
    return set;
  }

  int count() const {
    int total = 0;
    for (int w = 0; w < word_count_; ++w) total += std::popcount(word(w));
    return total;
  }

  /// Adds the lowest things not chosen.
  void add_lowest(int how_many) {
    for (int w = 0; w < word_count_; ++w) {
      std::uint64_t free = ~word(w) & low_bits(std::min(size_ - 64 * w, 64));
      for (; free != 0 && how_many > 0; free &= free - 1, --how_many)
        words_[static_cast<std::size_t>(w)] |= free & -free;
    }
  }

  template <typename Body>
  void for_each(Body&& body) const {
    for (int w = 0; w < word_count_; ++w)
      for (std::uint64_t bits = word(w); bits != 0; bits &= bits - 1)
        body(64 * w + std::countr_zero(bits));
  }

  void write(BitWriter& writer, ChoiceCode code) const {
    if (!code.bitmask) {
      for_each([&](int index) { writer.write(static_cast<std::uint64_t>(index), code.bits); });
      return;
    }
    for (int first = 0; first < size_; first += BitWriter::kMaxBits)
      writer.write(word(first >> 6) >> (first & 63) & low_bits(BitWriter::kMaxBits),
                   std::min(size_ - first, BitWriter::kMaxBits));
  }

 private:
  explicit ChoiceSet(int size) : size_(size), word_count_((size + 63) / 64) {}

  static ChoiceSet wide_blocks(std::span<const std::uint64_t> mask_row, const ColumnGroup& group) {
    ChoiceSet set(group.blocks);
    for (int b = 0; b < group.blocks; ++b) {
      const std::uint64_t bit =
          any_bit(mask_row, group.col + std::int64_t{b} * group.block_cols, group.block_cols);
      set.words_[static_cast<std::size_t>(b >> 6)] |= bit << (b & 63);
    }
    return set;
  }

  std::uint64_t word(int w) const { return words_[static_cast<std::size_t>(w)]; }

  int size_, word_count_;
  std::array<std::uint64_t, 4> words_ = {};
};

}  // namespace coppice
