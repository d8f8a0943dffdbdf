// Mask: which weights of a matrix are kept, one bit each. The contract between pruners and
// everything after them.
#pragma once

#include <bit>
#include <cstdint>
#include <span>
#include <vector>

namespace coppice {

/// `[rows, cols]` bits on the host; every row starts on a 64-bit word, bit c%64 of word c/64 is
/// column c. Padding bits are 0.
class Mask {
 public:
  Mask() = default;
  /// All bits clear.
  Mask(std::int64_t rows, std::int64_t cols)
      : rows_(rows),
        cols_(cols),
        row_words_((cols + 63) / 64),
        words_(static_cast<std::size_t>(rows * row_words_)) {}

  std::int64_t rows() const { return rows_; }
  std::int64_t cols() const { return cols_; }

  bool get(std::int64_t row, std::int64_t col) const {
    return (this->row(row)[static_cast<std::size_t>(col >> 6)] >> (col & 63)) & 1;
  }
  /// Not safe from several threads on the same row.
  void set(std::int64_t row, std::int64_t col) {
    this->row(row)[static_cast<std::size_t>(col >> 6)] |= std::uint64_t{1} << (col & 63);
  }
  void clear(std::int64_t row, std::int64_t col) {
    this->row(row)[static_cast<std::size_t>(col >> 6)] &= ~(std::uint64_t{1} << (col & 63));
  }

  std::span<std::uint64_t> row(std::int64_t r) { return {words_.data() + r * row_words_, words()}; }
  std::span<const std::uint64_t> row(std::int64_t r) const {
    return {words_.data() + r * row_words_, words()};
  }

  /// Kept weights.
  std::int64_t count() const {
    std::int64_t total = 0;
    for (std::uint64_t word : words_) total += std::popcount(word);
    return total;
  }

  friend bool operator==(const Mask&, const Mask&) = default;

 private:
  std::size_t words() const { return static_cast<std::size_t>(row_words_); }
  std::int64_t rows_ = 0, cols_ = 0, row_words_ = 0;
  std::vector<std::uint64_t> words_;
};

}  // namespace coppice
