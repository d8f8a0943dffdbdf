// The inner part of the look-up kernels: what a lane loads of a row's chunk, and the products of
// these values and the activations that their choices name.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <bit>
#include <utility>

#include "cuda/element/element_arguments.h"
#include "cuda/element/lookup_config.h"
#include "cuda/element/output.h"
#include "cuda/ptx/bits.h"
#include "cuda/ptx/bytes.h"
#include "cuda/ptx/copy.h"
#include "cuda/ptx/copy_bytes.h"
#include "cuda/ptx/load_floats.h"

namespace coppice::cuda {

/// The activations of a column, kOffset bytes behind an address in shared memory.
template <LookupConfig kConfig, int kOffset>
__device__ inline void load_column(std::uint32_t at, float (&x)[kConfig.tokens]) {
  if constexpr (kConfig.as_floats()) {
    ptx::load_floats<kOffset>(at, x);
  } else {
    std::uint32_t pairs[2];
    ptx::load_pairs<kOffset>(at, pairs);
    const float2 low = unpack_pair<kConfig.type>(pairs[0]);
    const float2 high = unpack_pair<kConfig.type>(pairs[1]);
    x[0] = low.x, x[1] = low.y, x[2] = high.x, x[3] = high.y;
  }
}

/// What one lane has the copy engine bring, `to` bytes behind the beginning of a slot.
struct BulkCopy {
  const std::byte* from;
  std::uint32_t to, bytes;
};

/// The same as row_vector, in few instructions where vectors have a power of two of rows.
__device__ inline int quick_row_vector(const ElementWeight& w, int row) {
  const int rows = w.layout.vec_rows;
  if (w.row_vectors != nullptr || (rows & (rows - 1)) != 0) return row_vector(w, row);
  return min(row, w.layout.rows - 1) >> (31 - __clz(rows));
}

/// Words of a chunk in registers.
template <LookupConfig kConfig>
struct LookupItem {
  static constexpr int kPieces = kConfig.pieces();
  static constexpr bool kList = kConfig.form.form == ChoiceForm::list;
  static constexpr int kListWords = kList ? kConfig.list_words() : 1;
  static constexpr int kWords = kConfig.choice_words();
  static constexpr int kHalves = kConfig.halves();
  static constexpr int kLists = kList ? kConfig.lists() : 0;
  static constexpr int kListBytes = kList ? kConfig.list_bytes() : 0;
  static constexpr int kPieceSet = 32 * kPieceBytes;  // of all lanes
  static constexpr int kWordSet = 32 * 4;
  static constexpr int kHalfBytes = kPieces * kPieceSet;
  static constexpr int kValueBytes = kHalves * kHalfBytes;

  using Sums = float[kHalves][kConfig.tokens];
  /// In shared memory, for all lanes: values, then choices.
  static constexpr int kBytes = kConfig.slot_bytes();

  uint4 values[kHalves][kPieces];
  std::uint32_t choices[kWords];

  /// From shared memory. @param part a half unit, or both halves of a unit.
  __device__ void load(const ElementWeight& w, int part, int chunk, int lane, std::uint32_t from) {
    const bool whole = is_whole(w.layout, chunk);
#pragma unroll
    for (int h = 0; h < kHalves; ++h)
      load_values(w.layout, chunk, lane, from + h * kHalfBytes, whole, values[h]);
    load_choices(w, part * kHalves, chunk, lane, from + kValueBytes, whole);
  }

  /// Whether nothing of a chunk lies behind the end.
  static __device__ bool is_whole(const ElementLayout& l, int chunk) {
    return (chunk + 1) * kPieces <= l.pieces && (kList || (chunk + 1) * kWords <= l.words);
  }

  /// Values of a row's chunk that was copied to shared memory as it lies; zeros behind the end.
  static __device__ void load_values(const ElementLayout& l, int chunk, int lane,
                                     std::uint32_t from, bool whole, uint4 (&out)[kPieces]) {
    from += piece_lane(l, lane) * kPieceBytes;
#pragma unroll
    for (int p = 0; p < kPieces; ++p) out[p] = ptx::load_shared_16(from + p * kPieceSet);
    if (whole) return;
#pragma unroll
    for (int p = 0; p < kPieces; ++p)
      if (chunk * kPieces + p >= l.pieces) out[p] = make_uint4(0, 0, 0, 0);
  }

  /// Lane 0, or lanes 0 and 1: values of a half unit's chunk; the next ones: choices where they lie
  /// together.
  static __device__ BulkCopy bulk_copy(const ElementWeight& w, int part, int chunk, int lane) {
    const ElementLayout& l = w.layout;
    const bool values = lane < kHalves;
    const int half_unit = part * kHalves;
    if constexpr (kList) {
      BulkCopy copy;
      copy.to = values ? lane * kHalfBytes : kValueBytes + (lane - kHalves) * kListBytes;
      copy.from = values ? value_source(w, half_unit + lane, chunk)
                         : list_source(w, half_unit, lane - kHalves, chunk);
      copy.bytes =
          values ? min(kPieces, l.pieces - chunk * kPieces) * kPieceSet : list_copy(l, chunk);
      return copy;
    } else {
      // Of the same instructions for both lanes.
      const int each = values ? kPieces : kWords, all = values ? l.pieces : l.words;
      const int set = values ? kPieceSet : kWordSet;
      // Behind the rows there are values, zeros, but no choices: any that are valid.
      const int of = values ? half_unit : min(half_unit, (l.rows - 1) / 8);
      return {(values ? w.values : w.choices) + std::int64_t{of * all + chunk * each} * set,
              values ? 0u : static_cast<std::uint32_t>(kValueBytes),
              static_cast<std::uint32_t>(max(0, min(each, all - chunk * each)) * set)};
    }
  }

  static __device__ const std::byte* value_source(const ElementWeight& w, int half_unit,
                                                  int chunk) {
    return w.values + std::int64_t{half_unit * w.layout.pieces + chunk * kPieces} * kPieceSet;
  }

  /// Where there is no copy engine.
  static __device__ void copy_values(const ElementWeight& w, int part, int chunk, int lane,
                                     std::uint32_t to) {
#pragma unroll
    for (int h = 0; h < kHalves; ++h) {
      const std::byte* from = value_source(w, part * kHalves + h, chunk);
#pragma unroll
      for (int p = 0; p < kPieces; ++p)
        if (chunk * kPieces + p < w.layout.pieces)
          ptx::copy_async_16(to + h * kHalfBytes + p * kPieceSet + lane * kPieceBytes,
                             from + p * kPieceSet + lane * kPieceBytes);
    }
  }
  static __device__ void copy_lists(const ElementWeight& w, int half_unit, int chunk, int lane,
                                    std::uint32_t to) {
    const int pieces = list_copy(w.layout, chunk) / kPieceBytes;
#pragma unroll 1
    for (int i = lane; i < kLists * pieces; i += 32) {
      const int row = i / pieces, byte = i % pieces * kPieceBytes;
      ptx::copy_async_16(to + row * kListBytes + byte,
                         list_source(w, half_unit, row, chunk) + byte);
    }
  }

  /// A lane asks for its own choices: where vectors have several rows, lanes share them.
  static __device__ void copy_choices(const ElementWeight& w, int part, int chunk, int lane,
                                      std::uint32_t to) {
    const int half_unit = part * kHalves;
    if constexpr (kList) {
      copy_lists(w, half_unit, chunk, lane, to);
      return;
    }
    const int vector = quick_row_vector(w, half_unit * 8 + lane / kElementLanes);
    const int first = chunk * kWords;
    const std::byte* from =
        w.choices + choice_word(w.layout, vector, lane % kElementLanes, first) * 4;
#pragma unroll
    for (int i = 0; i < kWords; ++i)
      if (first + i < w.layout.words)
        ptx::copy_async<4>(to + i * kWordSet + lane * 4, from + i * kWordSet);
  }

  /// list: what is copied of the list of row `row` of a half unit. Begins at a multiple of 16
  /// bytes, up to 14 bytes before the chunk's first run, and may end in the array that follows.
  static __device__ const std::byte* list_source(const ElementWeight& w, int half_unit, int row,
                                                 int chunk) {
    const std::int64_t byte = list_byte(w, quick_row_vector(w, half_unit * 8 + row), chunk);
    return w.choices + (kConfig.lists_aligned() ? byte : byte / kPieceBytes * kPieceBytes);
  }
  static __device__ int list_copy(const ElementLayout& l, int chunk) {
    const int slots = min(kPieces, l.pieces - chunk * kPieces) * kPieceSlots;
    const int bytes = (slots >> run_shift(l)) * 2;
    if constexpr (kConfig.lists_aligned()) return bytes;
    return (bytes + 2 * kPieceBytes - 2) / kPieceBytes * kPieceBytes;
  }

  /// The choices, when they have arrived.
  __device__ void load_choices(const ElementWeight& w, int half_unit, int chunk, int lane,
                               std::uint32_t from, bool whole) {
    if constexpr (kList) {
      load_runs(w, half_unit, chunk, lane, from, whole);
    } else {
#pragma unroll
      for (int i = 0; i < kWords; ++i)
        choices[i] = ptx::load_shared(from + i * kWordSet + lane * 4);
      if (whole) return;
#pragma unroll
      for (int i = 0; i < kWords; ++i)
        if (chunk * kWords + i >= w.layout.words) choices[i] = padding_word();
    }
  }

  /// Behind the end a mask still has its bits.
  static __device__ constexpr std::uint32_t padding_word() {
    std::uint32_t bits = 0;
    if constexpr (kConfig.form.form == ChoiceForm::mask)
      for (int b = 0; b < 32; b += kConfig.form.group)
        bits |= static_cast<std::uint32_t>((std::uint64_t{1} << kConfig.form.kept) - 1) << b;
    return bits;
  }

  /// list: slots of a row in a piece of its four lanes.
  static constexpr int kPieceSlots = kElementLanes * kConfig.per_piece();

  /// A run's columns are a power of two.
  static __device__ int run_shift(const ElementLayout& l) {
    if constexpr (kConfig.form.run < 8)
      return std::countr_zero(static_cast<unsigned>(kConfig.form.run));
    return 31 - __clz(l.run);
  }
  /// Where a chunk's runs begin among the lists.
  static __device__ std::int64_t list_byte(const ElementWeight& w, int vector, int chunk) {
    return run_number(w.layout, vector, chunk * (kPieces * kPieceSlots) >> run_shift(w.layout)) * 2;
  }

  static __device__ void load_words(std::uint32_t from, std::uint32_t* out) {
    if constexpr (kListWords == 4) {
      const uint4 words = ptx::load_shared_16(from);
      out[0] = words.x, out[1] = words.y, out[2] = words.z, out[3] = words.w;
    } else if constexpr (kListWords == 2) {
      const uint2 words = ptx::load_shared_8(from);
      out[0] = words.x, out[1] = words.y;
    } else {
      out[0] = ptx::load_shared(from);
    }
  }

  /// Runs of a piece: 1 to 8 entries of 16 bits.
  __device__ void load_runs(const ElementWeight& w, int half_unit, int chunk, int lane,
                            std::uint32_t from, bool whole) {
    constexpr int kPer = kConfig.per_piece();
    const int t = lane % kElementLanes, row = kLists == 1 ? 0 : lane / kElementLanes;
    from += row * kListBytes;
    if constexpr (!kConfig.lists_aligned())
      from += list_byte(w, quick_row_vector(w, half_unit * 8 + row), chunk) % kPieceBytes;
#pragma unroll
    for (int p = 0; p < kPieces; ++p) {
      std::uint32_t* out = choices + p * kListWords;
      const int slot = p * kPieceSlots + t * kPer;
      if constexpr (kConfig.form.run >= kPer)
        out[0] = ptx::load_shared_2(from + (slot >> run_shift(w.layout)) * 2) +
                 (slot & ((1 << run_shift(w.layout)) - 1));
      else
        load_words(from + slot / kConfig.form.run * 2, out);
    }
    if (whole) return;
    const std::uint32_t first = w.chunks[chunk].first;  // a column that the chunk has
#pragma unroll
    for (int p = 0; p < kPieces; ++p)
      if (chunk * kPieces + p >= w.layout.pieces)
#pragma unroll
        for (int i = 0; i < kListWords; ++i)
          choices[p * kListWords + i] = kConfig.form.run >= kPer ? first : first * 0x10001u;
  }

  template <int kEntry>
  __device__ float value(int half) const {
    constexpr int kPer = kConfig.per_piece(), kByte = kEntry % kPer * kConfig.element_bytes();
    const uint4& piece = values[half][kEntry / kPer];
    const std::uint32_t word = kByte / 4 == 0   ? piece.x
                               : kByte / 4 == 1 ? piece.y
                               : kByte / 4 == 2 ? piece.z
                                                : piece.w;
    if constexpr (kConfig.type == Dtype::f32) {
      return __uint_as_float(word);
    } else {
      const float2 pair = unpack_pair<kConfig.type>(word);
      return kEntry % 2 == 0 ? pair.x : pair.y;
    }
  }

  /// @param column address of its activations, but for kOffset bytes.
  template <int kEntry, int kOffset = 0>
  __device__ void add(std::uint32_t column, Sums& sum) const {
    float x[kConfig.tokens];
    load_column<kConfig, kOffset>(column, x);
#pragma unroll
    for (int h = 0; h < kHalves; ++h)
#pragma unroll
      for (int i = 0; i < kConfig.tokens; ++i) sum[h][i] = fmaf(value<kEntry>(h), x[i], sum[h][i]);
  }

  /// The bytes of an entry's columns within its group: its index, shifted.
  template <int kEntry>
  __device__ std::uint32_t index_bytes() const {
    constexpr int kBits = kConfig.form.index_bits, kFirst = kEntry * kBits, kWord = kFirst / 32;
    constexpr int kScale = std::countr_zero(static_cast<unsigned>(kConfig.column_bytes()));
    constexpr int kShift = kFirst % 32;
    std::uint32_t bits;
    if constexpr (kShift + kBits > 32)
      bits = __funnelshift_r(choices[kWord], choices[kWord + 1], kShift) << kScale;
    else if constexpr (kShift >= kScale)
      bits = choices[kWord] >> (kShift - kScale);
    else
      bits = choices[kWord] << (kScale - kShift);
    return bits & ((1u << kBits) - 1) << kScale;
  }

  /// @param x address of the activations of column 0. @param table of this lane, if there is one.
  __device__ void multiply(const ElementWeight& w, std::uint32_t x, std::uint32_t table, int chunk,
                           int t, Sums& sum) const {
    constexpr auto kEntries = std::make_integer_sequence<int, kChunkEntries>();
    if constexpr (kConfig.form.form == ChoiceForm::list)
      walk_list(
          x, [&]<int kEntry>(std::uint32_t column) { add<kEntry>(column, sum); }, kEntries);
    else if constexpr (kConfig.tabled())
      multiply_tabled(
          x + group_byte(kConfig.form.group, chunk * kChunkEntries / kConfig.form.kept, 0), table,
          sum, std::make_integer_sequence<int, kChunkEntries / 4>());
    else if constexpr (kConfig.form.form == ChoiceForm::mask)
      multiply_mask(
          x + group_byte(kConfig.form.group, chunk * kChunkEntries / kConfig.form.kept, t) +
              kConfig.turn(t * kConfig.form.group) * kConfig.column_bytes(),
          sum, kEntries);
    else if constexpr (kConfig.form.group > 0)
      multiply_whole_groups(
          x + group_byte(kConfig.form.group, chunk * kChunkEntries / kConfig.form.kept, t), sum,
          kEntries);
    else
      multiply_indices(w, x, chunk, t, sum, kEntries);
  }

  /// list: the column of a value.
  template <int kEntry>
  __device__ std::uint32_t column() const {
    constexpr int kPer = kConfig.per_piece(), kRun = kConfig.form.run;
    constexpr int kPiece = kEntry / kPer, kPlace = kEntry % kPer;
    if constexpr (kRun < kPer) {
      constexpr int kOf = kPlace / kRun;
      const std::uint32_t two = choices[kPiece * kListWords + kOf / 2];
      return (kOf % 2 == 0 ? two & 0xFFFFu : two >> 16) + kPlace % kRun;
    } else {
      return choices[kPiece * kListWords] + kPlace;
    }
  }

 private:
  static __device__ int group_byte(int group, int lane_group, int t) {
    return (lane_group * kElementLanes + t) * group * kConfig.column_bytes();
  }
  static constexpr int kStep = kElementLanes * kConfig.form.group * kConfig.column_bytes();

  /// Groups of 2^index_bits columns begin at multiples of their size: the index is bits of the
  /// address.
  template <int... kEntry>
  __device__ void multiply_whole_groups(std::uint32_t x, Sums& sum,
                                        std::integer_sequence<int, kEntry...>) const {
    (add<kEntry, kEntry / kConfig.form.kept * kStep>(x | index_bytes<kEntry>(), sum), ...);
  }

  template <int... kEntry>
  __device__ void multiply_indices(const ElementWeight& w, std::uint32_t x, int chunk, int t,
                                   Sums& sum, std::integer_sequence<int, kEntry...>) const {
    const int step = kElementLanes * w.layout.group * kConfig.column_bytes();
    constexpr int kKept = kConfig.form.kept;
    if constexpr (kKept > 0) {
      const std::uint32_t group =
          x + group_byte(w.layout.group, chunk * (kChunkEntries / kKept), t);
      (add<kEntry>(group + kEntry / kKept * step + index_bytes<kEntry>(), sum), ...);
    } else {
      const int first = chunk * kChunkEntries, kept = w.layout.kept;
      std::uint32_t group = x + group_byte(w.layout.group, first / kept, t);
      int left = kept - first % kept;
      const auto next = [&] {
        if (--left == 0) left = kept, group += step;
      };
      ((add<kEntry>(group + index_bytes<kEntry>(), sum), next()), ...);
    }
  }

  /// The groups of a chunk in turns: finding a bit takes longest, and waits for the one before it
  /// in the group. A group begins at a multiple of its size, so its place and a column's turn are
  /// bits of the address. (Where it does not, 4 of 8, nothing is turned.)
  template <int... kEntry>
  __device__ void multiply_mask(std::uint32_t x, Sums& sum,
                                std::integer_sequence<int, kEntry...>) const {
    constexpr int kKept = kConfig.form.kept, kGroup = kConfig.form.group;
    constexpr int kGroups = kChunkEntries / kKept;
    // Of two groups alone the lowest bits of masks turned round: the next one then does not wait
    // for the place of this one, for an instruction more.
    constexpr bool kBackwards = kGroups < 4;
    std::uint32_t bits[kGroups];
#pragma unroll
    for (int i = 0; i < kGroups; ++i)
      bits[i] = choices[i * kGroup / 32] >> i * kGroup % 32 &
                static_cast<std::uint32_t>((std::uint64_t{1} << kGroup) - 1);
    if constexpr (kBackwards)
#pragma unroll
      for (int i = 0; i < kGroups; ++i) bits[i] = __brev(bits[i]);
    const auto one = [&]<int kTurn>() {
      constexpr int kNumber = kTurn % kGroups, kEntryOf = kNumber * kKept + kTurn / kGroups;
      std::uint32_t column;
      if constexpr (kBackwards) {
        const std::uint32_t rest = bits[kNumber] & (bits[kNumber] - 1);
        column = ptx::bits_above(bits[kNumber] ^ rest);
        bits[kNumber] = rest;
      } else {
        column = ptx::highest_bit(bits[kNumber]);
        bits[kNumber] ^= 1u << column;
      }
      add<kEntryOf, kNumber * kStep>(x ^ column * kConfig.column_bytes(), sum);
    };
    (one.template operator()<kEntry>(), ...);
  }

  /// A byte of a table's entry is the lowest byte of an address: the activations of a chunk begin
  /// at a multiple of 256 bytes.
  template <int kGroup>
  __device__ void multiply_group(std::uint32_t x, std::uint32_t table, Sums& sum) const {
    constexpr int kShift = kGroup % 4 * 8 + 1 - 7, kOffset = kGroup * kStep;
    const std::uint32_t word = choices[kGroup / 4];
    std::uint32_t bits;
    if constexpr (kShift < 0)
      bits = word << -kShift;
    else
      bits = word >> kShift;
    const std::uint32_t places = ptx::load_table(table + (bits & 127 << 7));
    add<kGroup * 4, kOffset>(ptx::select_bytes(places, x, 0x7650), sum);
    add<kGroup * 4 + 1, kOffset>(ptx::select_bytes(places, x, 0x7651), sum);
    add<kGroup * 4 + 2, kOffset>(ptx::select_bytes(places, x, 0x7652), sum);
    add<kGroup * 4 + 3, kOffset>(ptx::select_bytes(places, x, 0x7653), sum);
  }
  template <int... kGroup>
  __device__ void multiply_tabled(std::uint32_t x, std::uint32_t table, Sums& sum,
                                  std::integer_sequence<int, kGroup...>) const {
    (multiply_group<kGroup>(x, table, sum), ...);
  }

  template <typename Use, int... kEntry>
  __device__ void walk_list(std::uint32_t x, const Use& use,
                            std::integer_sequence<int, kEntry...>) const {
    (use.template operator()<kEntry>(x + column<kEntry>() * kConfig.column_bytes()), ...);
  }
};

}  // namespace coppice::cuda
