// The layout that the CPU kernels read. One layout serves few and many tokens.
//
// Rows go in panels of 16 consecutive rows, whatever the instruction set; a lane is a row. A panel
// has one slot for every weight that a row keeps (`slots`, the same number in every panel), and a
// slot holds one value for each of the 16 lanes. Panels lie one after the other in `stream`, each
// `panel_bytes` long, and each is read from front to back: one stream of addresses.
//
// What a slot's values are multiplied by depends on who made the choice:
//
//   shared   all rows of the panel keep the same columns (vw, bw and V:N without inner level for
//            vectors of at least 16 rows; dense). A panel is [slots][16] values. Slot s takes
//            x[x_order.at(panel.list, s)].
//   lane     every row keeps columns of its own (N:M; V:N:M; short vectors). A panel is a sequence
//            of chunks: 16 words of 32 bits with the indices of the next `slots_per_word` slots
//            (lane i's index for the chunk's slot j is bits [j * index_bits, (j+1) * index_bits) of
//            word i), then those slots' values. The last chunk may have fewer slots. An index is
//            a position in a window of the ordered x, xo[p] = x[x_order.at(panel.list, p)]. `runs`
//            say where the windows start: a run is a number of groups, each of `slots` slots that
//            look into one window, `x_step` positions after the group before.
//
// No slot is padding: lanes of rows that exist hold stored weights only, so that a NaN in x reaches
// no row that does not keep its column. Lanes beyond `panel.rows` hold +0 and index 0; their sums
// are dropped. Windows may reach past x_length: kernels copy x and append `window` zeros.
//
// Blocks of several columns in short vectors (bw4x4/8:32): the ordered x holds the first columns of
// all blocks of a group, then all second columns, and so on, so that a window is again `group`
// neighbours and one block index serves as it is, repeated for every column of the block.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "coppice/linear.h"
#include "cpu/aligned_buffer.h"

namespace coppice::cpu {

inline constexpr int kPanelRows = 16;

enum class WeightFormat : std::uint8_t { shared, lane };

struct Panel {
  std::int64_t row = 0;   ///< first row
  std::int32_t rows = 0;  ///< 16, or fewer at the end of a vector (shared) or of the weight
  std::int32_t list = 0;  ///< which list of x_order it reads by; panels of one list are neighbours
};

/// `groups` groups of `slots` slots; group g reads the window that starts at x_begin + g * x_step,
/// out of the `column_step` columns of the grid from column + g * column_step on.
struct SlotRun {
  std::int64_t x_begin = 0;
  std::int64_t groups = 0;
  std::int32_t x_step = 0;
  std::int32_t slots = 0;
  std::int64_t column = 0;
  std::int32_t column_step = 0;
};

/// Lists of weight columns (original order: an input permutation is composed in), all of one
/// length. 16 bits each where that is enough.
class ColumnLists {
 public:
  ColumnLists() = default;
  ColumnLists(std::int64_t lists, std::int64_t length, std::int64_t cols);

  bool empty() const { return narrow_.empty() && wide_.empty(); }
  bool is_narrow() const { return wide_.empty(); }
  std::int64_t length() const { return length_; }
  std::int64_t bytes() const { return 2 * std::ssize(narrow_) + 4 * std::ssize(wide_); }
  const std::uint16_t* narrow(std::int64_t list) const { return narrow_.data() + list * length_; }
  const std::uint32_t* wide(std::int64_t list) const { return wide_.data() + list * length_; }
  std::int64_t at(std::int64_t list, std::int64_t position) const {
    return is_narrow() ? narrow(list)[position] : wide(list)[position];
  }
  void set(std::int64_t list, std::int64_t position, std::int64_t column);

 private:
  std::int64_t length_ = 0;
  std::vector<std::uint16_t> narrow_;
  std::vector<std::uint32_t> wide_;
};

/// Everything about a packed weight but its numbers: known from pattern, shape and dtype alone.
struct PackedLayout {
  WeightFormat format = WeightFormat::shared;
  int value_bytes = 4;           ///< 2 or 4
  std::int64_t slots = 0;        ///< of a panel
  std::int64_t x_length = 0;     ///< positions of the ordered x
  std::int64_t cols = 0;         ///< of the weight
  int window = 0;                ///< lane only: 4, 8, ... 256
  int index_bits = 0;            ///< lane only: log2(window)
  int slots_per_word = 1;        ///< lane only: 32 / index_bits
  bool list_per_vector = false;  ///< x_order has a list for every vector, not one for all
  std::vector<SlotRun> runs;     ///< lane, and shared with a list for every vector

  std::int64_t slot_bytes() const { return std::int64_t{kPanelRows} * value_bytes; }
  std::int64_t word_bytes() const { return format == WeightFormat::lane ? kPanelRows * 4 : 0; }
  /// Bytes from one chunk to the next. Shared panels have no chunks.
  std::int64_t chunk_bytes() const { return word_bytes() + slots_per_word * slot_bytes(); }
  /// Where slot s's values lie in a panel.
  std::int64_t slot_offset(std::int64_t s) const {
    return s / slots_per_word * chunk_bytes() + word_bytes() + s % slots_per_word * slot_bytes();
  }
  /// Where the words with slot s's indices lie in a panel. Lane only.
  std::int64_t word_offset(std::int64_t s) const { return s / slots_per_word * chunk_bytes(); }
  /// Bytes of a panel, a multiple of 64.
  std::int64_t panel_bytes() const {
    const std::int64_t words = (slots + slots_per_word - 1) / slots_per_word * word_bytes();
    return (words + slots * slot_bytes() + 63) / 64 * 64;
  }
};

/// The layout of weights that have this grid. Throws InvalidArgument unless f32, f16 or bf16.
PackedLayout packed_layout(const Grid& grid, Dtype dtype);

struct PackedWeight::Impl {
  Pattern pattern;
  Dtype dtype = Dtype::f32;
  std::int64_t rows = 0, cols = 0;
  PackedLayout layout;
  std::vector<Panel> panels;
  ColumnLists x_order;  ///< empty: the ordered x is x itself (x_length == cols)
  std::vector<std::uint32_t> input_permutation;  ///< that lists are composed with, or empty
  std::int64_t panel_bytes = 0;
  AlignedArray<std::byte> stream;  ///< [panels][panel_bytes], aligned to 64 bytes

  const std::byte* panel(std::int64_t p) const { return stream.get() + p * panel_bytes; }
};

}  // namespace coppice::cpu
