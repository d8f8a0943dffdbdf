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

/// Words of a chunk in registers.
template <LookupConfig kConfig>
struct LookupItem {
  static constexpr int kPieces = kConfig.pieces();
  static constexpr bool kList = kConfig.form.form == ChoiceForm::list;
  static constexpr int kListWords = kList ? kConfig.list_words() : 1;
  static constexpr int kWords = kConfig.choice_words();
  /// Bytes of a lane's choices that are copied together.
  static constexpr int kChoiceCopy = kList ? 4 * kListWords : 4;
  static constexpr int kPieceSet = 32 * kPieceBytes;  // of all lanes
  static constexpr int kWordSet = 32 * 4;
  static constexpr int kValueBytes = kPieces * kPieceSet;
  static constexpr int kChoiceBytes = kWords * kWordSet;

  uint4 values[kPieces];
  std::uint32_t choices[kWords];

  /// Whether nothing of a chunk lies behind the end.
  static __device__ bool is_whole(const ElementLayout& l, int chunk) {
    return (chunk + 1) * kPieces <= l.pieces && (kList || (chunk + 1) * kWords <= l.words);
  }

  /// Values of a row's chunk that was copied to shared memory as it lies; zeros behind the end.
  __device__ void load_values(const ElementLayout& l, int chunk, int lane, std::uint32_t from,
                              bool whole) {
    from += piece_lane(l, lane) * kPieceBytes;
#pragma unroll
    for (int p = 0; p < kPieces; ++p) values[p] = ptx::load_shared_16(from + p * kPieceSet);
    if (whole) return;
#pragma unroll
    for (int p = 0; p < kPieces; ++p)
      if (chunk * kPieces + p >= l.pieces) values[p] = make_uint4(0, 0, 0, 0);
  }

  /// A lane asks for its own choices: where vectors have several rows, lanes share them.
  static __device__ void copy_choices(const ElementWeight& w, int half_unit, int chunk, int lane,
                                      std::uint32_t to) {
    const int vector = row_vector(w, half_unit * 8 + lane / kElementLanes);
    const int t = lane % kElementLanes;
    if constexpr (kList) {
#pragma unroll
      for (int p = 0; p < kPieces; ++p)
        if (chunk * kPieces + p < w.layout.pieces)
          ptx::copy_async<kChoiceCopy>(to + (p * 32 + lane) * kChoiceCopy,
                                       w.choices + run_of(w, vector, chunk * kPieces + p, t) * 2 /
                                                       kChoiceCopy * kChoiceCopy);
    } else {
      const int first = chunk * kWords;
      const std::byte* from = w.choices + choice_word(w.layout, vector, t, first) * 4;
#pragma unroll
      for (int i = 0; i < kWords; ++i)
        if (first + i < w.layout.words)
          ptx::copy_async<4>(to + i * kWordSet + lane * 4, from + i * kWordSet);
    }
  }

  /// The choices, when they have arrived.
  __device__ void load_choices(const ElementWeight& w, int half_unit, int chunk, int lane,
                               std::uint32_t from, bool whole) {
    if constexpr (kList) {
      load_runs(w, half_unit, chunk, lane, from);
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

  /// list: number of the first run of a piece of lane t.
  static __device__ std::int64_t run_of(const ElementWeight& w, int vector, int piece, int t) {
    const int slot = (piece * kElementLanes + t) * kConfig.per_piece();
    return run_number(w.layout, vector,
                      slot / (kConfig.form.run >= 8 ? w.layout.run : kConfig.form.run));
  }

  /// Runs of a piece: 1 to 8 entries of 16 bits. One alone is half of what was copied.
  __device__ void load_runs(const ElementWeight& w, int half_unit, int chunk, int lane,
                            std::uint32_t from) {
    constexpr int kPer = kConfig.per_piece();
    const int vector = row_vector(w, half_unit * 8 + lane / kElementLanes);
#pragma unroll
    for (int p = 0; p < kPieces; ++p) {
      const int piece = chunk * kPieces + p;
      std::uint32_t* out = choices + p * kListWords;
#pragma unroll
      for (int i = 0; i < kListWords; ++i)
        out[i] = ptx::load_shared(from + (p * 32 + lane) * kChoiceCopy + i * 4);
      if constexpr (kConfig.form.run >= kPer) {
        const int t = lane % kElementLanes, slot = (piece * kElementLanes + t) * kPer;
        const int run = kConfig.form.run >= 8 ? w.layout.run : kConfig.form.run;
        out[0] =
            (run_of(w, vector, piece, t) % 2 == 0 ? out[0] & 0xFFFFu : out[0] >> 16) + slot % run;
      }
      if (piece < w.layout.pieces) continue;
      const std::uint32_t first = w.chunks[chunk].first;  // a column that the chunk has
#pragma unroll
      for (int i = 0; i < kListWords; ++i)
        out[i] = kConfig.form.run >= kPer ? first : first * 0x10001u;
    }
  }

  template <int kEntry>
  __device__ float value() const {
    constexpr int kPer = kConfig.per_piece(), kByte = kEntry % kPer * kConfig.element_bytes();
    const uint4& piece = values[kEntry / kPer];
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
  __device__ void add(std::uint32_t column, float (&sum)[kConfig.tokens]) const {
    float x[kConfig.tokens];
    load_column<kConfig, kOffset>(column, x);
#pragma unroll
    for (int i = 0; i < kConfig.tokens; ++i) sum[i] = fmaf(value<kEntry>(), x[i], sum[i]);
  }

  /// Both rows of a shared list: one look-up for two values.
  template <int kEntry>
  __device__ void add_two(const LookupItem& other, std::uint32_t column,
                          float (&sum)[kConfig.tokens], float (&other_sum)[kConfig.tokens]) const {
    float x[kConfig.tokens];
    load_column<kConfig, 0>(column, x);
#pragma unroll
    for (int i = 0; i < kConfig.tokens; ++i) {
      sum[i] = fmaf(value<kEntry>(), x[i], sum[i]);
      other_sum[i] = fmaf(other.template value<kEntry>(), x[i], other_sum[i]);
    }
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
                           int t, float (&sum)[kConfig.tokens]) const {
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
          x + group_byte(kConfig.form.group, chunk * kChunkEntries / kConfig.form.kept, t), sum,
          kEntries);
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

  /// The same as `multiply` for two rows of one vector, by the list of this one.
  __device__ void multiply_both(const LookupItem& other, std::uint32_t x,
                                float (&sum)[kConfig.tokens],
                                float (&other_sum)[kConfig.tokens]) const {
    walk_list(
        x,
        [&]<int kEntry>(std::uint32_t column) { add_two<kEntry>(other, column, sum, other_sum); },
        std::make_integer_sequence<int, kChunkEntries>());
  }

 private:
  static __device__ int group_byte(int group, int lane_group, int t) {
    return (lane_group * kElementLanes + t) * group * kConfig.column_bytes();
  }
  static constexpr int kStep = kElementLanes * kConfig.form.group * kConfig.column_bytes();

  /// Groups of 2^index_bits columns begin at multiples of their size: the index is bits of the
  /// address.
  template <int... kEntry>
  __device__ void multiply_whole_groups(std::uint32_t x, float (&sum)[kConfig.tokens],
                                        std::integer_sequence<int, kEntry...>) const {
    (add<kEntry, kEntry / kConfig.form.kept * kStep>(x | index_bytes<kEntry>(), sum), ...);
  }

  template <int... kEntry>
  __device__ void multiply_indices(const ElementWeight& w, std::uint32_t x, int chunk, int t,
                                   float (&sum)[kConfig.tokens],
                                   std::integer_sequence<int, kEntry...>) const {
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

  template <int... kEntry>
  __device__ void multiply_mask(std::uint32_t x, float (&sum)[kConfig.tokens],
                                std::integer_sequence<int, kEntry...>) const {
    constexpr int kKept = kConfig.form.kept, kGroup = kConfig.form.group;
    std::uint32_t bits = 0;
    const auto one = [&]<int kThis>() {
      constexpr int kNumber = kThis / kKept, kBit = kNumber * kGroup;
      if constexpr (kThis % kKept == 0)
        bits = choices[kBit / 32] >> kBit % 32 &
               static_cast<std::uint32_t>((std::uint64_t{1} << kGroup) - 1);
      const int highest = 31 - __clz(static_cast<int>(bits));
      bits ^= 1u << highest;
      add<kThis, kNumber * kStep>(x + highest * kConfig.column_bytes(), sum);
    };
    (one.template operator()<kEntry>(), ...);
  }

  /// A byte of a table's entry is the lowest byte of an address: the activations of a chunk begin
  /// at a multiple of 256 bytes.
  template <int kGroup>
  __device__ void multiply_group(std::uint32_t x, std::uint32_t table,
                                 float (&sum)[kConfig.tokens]) const {
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
  __device__ void multiply_tabled(std::uint32_t x, std::uint32_t table,
                                  float (&sum)[kConfig.tokens],
                                  std::integer_sequence<int, kGroup...>) const {
    (multiply_group<kGroup>(x, table, sum), ...);
  }

  template <typename Use, int... kEntry>
  __device__ void walk_list(std::uint32_t x, const Use& use,
                            std::integer_sequence<int, kEntry...>) const {
    (use.template operator()<kEntry>(x + column<kEntry>() * kConfig.column_bytes()), ...);
  }
};

/// A chunk of one row of a lane, or of both.
template <LookupConfig kConfig>
struct LookupRows {
  using Item = LookupItem<kConfig>;
  static constexpr int kHalves = kConfig.halves();
  /// In shared memory, for all lanes: values of each row, then choices.
  static constexpr int kValueBytes = kHalves * Item::kValueBytes;
  static constexpr int kBytes = kConfig.slot_bytes();
  Item row[kHalves];

  /// @param number of the item's unit or half unit.
  __device__ void load(const ElementWeight& w, int number, int chunk, int lane,
                       std::uint32_t from) {
    const bool whole = Item::is_whole(w.layout, chunk);
#pragma unroll
    for (int h = 0; h < kHalves; ++h)
      row[h].load_values(w.layout, chunk, lane, from + h * Item::kValueBytes, whole);
    row[0].load_choices(w, kHalves * number, chunk, lane, from + kValueBytes, whole);
  }
  __device__ void multiply(const ElementWeight& w, std::uint32_t x, std::uint32_t table, int chunk,
                           int t, float (&sum)[kHalves][kConfig.tokens]) const {
    if constexpr (kHalves == 2)
      row[0].multiply_both(row[1], x, sum[0], sum[1]);
    else
      row[0].multiply(w, x, table, chunk, t, sum[0]);
  }
};

}  // namespace coppice::cuda
