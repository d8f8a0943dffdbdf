// The one bit-packing of the canonical form (docs/format.md): how `columns` and `metadata` write
// "these of those". Everything that reads or writes the two arrays does it through this file:
// compression, validation, slices, and the packers of the CPU and CUDA engines.
//
//   std::vector<std::int32_t> live(grid.live_cols()), places(grid.kept());
//   read_live_columns(view, vector, live);        // the columns alive in a vector
//   read_row_choice(view, row, places);           // which of them a row of it keeps
//   // weight k of the row: values[row * kept + k] at grid column live[places[k]]
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "coppice/grid.h"
#include "coppice/sparse_matrix.h"

namespace coppice {

static_assert(std::endian::native == std::endian::little,
              "the canonical form is little-endian and is read in place");

/// The lowest `count` bits set; 0 <= count <= 64.
constexpr std::uint64_t low_bits(int count) {
  return count == 0 ? 0 : ~std::uint64_t{0} >> (64 - count);
}

/// Reads bit fields from bytes, lowest bit first. Bits behind the end read as 0.
class BitReader {
 public:
  static constexpr int kMaxBits = 57;  ///< of one read: a 64-bit load less an offset in a byte

  explicit BitReader(std::span<const std::byte> bytes, std::int64_t first_bit = 0)
      : bytes_(bytes), bit_(static_cast<std::size_t>(first_bit)) {}

  /// The next `count` bits, 0 <= count <= kMaxBits.
  std::uint64_t read(int count) {
    const std::uint64_t bits = window() >> (bit_ & 7) & low_bits(count);
    bit_ += static_cast<std::size_t>(count);
    return bits;
  }

 private:
  std::uint64_t window() const {
    const std::size_t byte = bit_ >> 3;
    std::uint64_t word = 0;
    if (byte + sizeof(word) <= bytes_.size()) [[likely]] {
      std::memcpy(&word, bytes_.data() + byte, sizeof(word));
    } else if (byte < bytes_.size()) {
      std::memcpy(&word, bytes_.data() + byte, bytes_.size() - byte);
    }
    return word;
  }

  std::span<const std::byte> bytes_;
  std::size_t bit_;
};

/// Writes bit fields to bytes, lowest bit first, and touches no byte behind the last field, so that
/// threads can write neighbouring rows.
class BitWriter {
 public:
  static constexpr int kMaxBits = 32;  ///< of one write

  /// @param out room for all that is written.
  explicit BitWriter(std::byte* out) : out_(out) {}

  /// The lowest `count` bits of `bits` (the others must be 0), 0 <= count <= kMaxBits.
  void write(std::uint64_t bits, int count) {
    pending_ |= bits << filled_;
    filled_ += count;
    if (filled_ >= 32) {
      std::memcpy(out_, &pending_, 4);
      out_ += 4;
      pending_ >>= 32;
      filled_ -= 32;
    }
  }

  /// Stores the last bits; the rest of their byte becomes 0.
  void finish() {
    if (filled_ > 0) std::memcpy(out_, &pending_, static_cast<std::size_t>((filled_ + 7) / 8));
    filled_ = 0;
  }

 private:
  std::byte* out_;
  std::uint64_t pending_ = 0;
  int filled_ = 0;
};

/// Reads one valid choice of `kept` of `of`: writes `base + index` for each of its `kept` indices,
/// ascending.
template <typename Index>
inline void read_choice(BitReader& reader, ChoiceCode code, int kept, int of, Index base,
                        Index* out) {
  if (code.bitmask) {
    constexpr int kChunk = 56;
    for (int first = 0; first < of; first += kChunk) {
      std::uint64_t bits = reader.read(of - first < kChunk ? of - first : kChunk);
      // A choice that is not valid may have too many bits: never more than `kept` are written.
      for (; bits != 0 && kept > 0; bits &= bits - 1, --kept)
        *out++ = static_cast<Index>(base + first + std::countr_zero(bits));
    }
  } else if (code.bits * kept <= BitReader::kMaxBits) {
    std::uint64_t bits = reader.read(code.bits * kept);
    const std::uint64_t one = low_bits(code.bits);
    for (int i = 0; i < kept; ++i, bits >>= code.bits)
      *out++ = static_cast<Index>(base + static_cast<Index>(bits & one));
  } else {
    for (int i = 0; i < kept; ++i)
      *out++ = static_cast<Index>(base + static_cast<Index>(reader.read(code.bits)));
  }
}

/// The columns alive in a vector, ascending in grid order; all columns where the pattern has no
/// `columns`.
/// @param view a valid view (see `validate`).
/// @param out `[grid.live_cols()]`; those of a group start at its `live_col`.
void read_live_columns(const SparseView& view, std::int64_t vector, std::span<std::int32_t> out);

/// The weights that a row keeps, as places in the list of live columns of its vector; 0, 1, 2, ...
/// where the pattern has no `metadata`.
/// @param view a valid view.
/// @param out `[grid.kept()]`; those of a group start at its `value`.
void read_row_choice(const SparseView& view, std::int64_t row, std::span<std::int32_t> out);

/// Walks the stored weights of a valid view. Holds one vector's and one row's lists; one object per
/// thread. The arrays of the view must outlive it.
class StoredColumns {
 public:
  explicit StoredColumns(const SparseView& view);

  /// Goes to a vector. @returns its live columns, in original column order where the view has an
  /// input permutation: `[grid.live_cols()]`, valid until the next call.
  std::span<const std::int32_t> seek(std::int64_t vector);

  /// Columns of the weights of a row of the vector gone to, in the order of `values`:
  /// `[grid.kept()]`, valid until the next call.
  std::span<const std::int32_t> row(std::int64_t row);

 private:
  SparseView view_;
  std::vector<std::int32_t> live_, row_;
};

/// Copies `count` bits that start at bit `first` of `in` to the start of `out`; the rest of the
/// last byte written becomes 0.
void copy_bits(std::span<const std::byte> in, std::int64_t first, std::int64_t count,
               std::byte* out);

}  // namespace coppice
