// The inner part of the look-up kernels: what a lane loads of a row's chunk, and the products of
// these values and the activations that their choices name.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <utility>

#include "cuda/element/element_arguments.h"
#include "cuda/element/lookup_config.h"
#include "cuda/element/output.h"

namespace coppice::cuda {

/// The activations of a column.
template <LookupConfig kConfig>
__device__ inline void load_column(const std::byte* at, float (&x)[kConfig.tokens]) {
  if constexpr (!kConfig.as_floats()) {
    const uint2 raw = *reinterpret_cast<const uint2*>(at);
    const float2 low = unpack_pair<kConfig.type>(raw.x), high = unpack_pair<kConfig.type>(raw.y);
    x[0] = low.x, x[1] = low.y, x[2] = high.x, x[3] = high.y;
  } else if constexpr (kConfig.tokens == 4) {
    const float4 raw = *reinterpret_cast<const float4*>(at);
    x[0] = raw.x, x[1] = raw.y, x[2] = raw.z, x[3] = raw.w;
  } else if constexpr (kConfig.tokens == 2) {
    const float2 raw = *reinterpret_cast<const float2*>(at);
    x[0] = raw.x, x[1] = raw.y;
  } else {
    x[0] = *reinterpret_cast<const float*>(at);
  }
}

/// Words of a chunk in registers.
template <LookupConfig kConfig>
struct LookupItem {
  static constexpr int kPieces = kConfig.pieces();
  static constexpr bool kList = kConfig.form.form == ChoiceForm::list;
  /// Registers for choices: a list has entries for every piece.
  static constexpr int kListWords =
      kConfig.form.run >= 8 ? 1 : (kConfig.per_piece() / (kList ? kConfig.form.run : 1) + 1) / 2;
  static constexpr int kWords = kList ? kPieces * kListWords : kConfig.form.words();

  uint4 values[kPieces];
  std::uint32_t choices[kWords];

  /// Zeros behind the end.
  __device__ void load(const ElementWeight& w, int half_unit, int chunk, int lane) {
    load_values(w, half_unit, chunk, lane);
    load_choices(w, half_unit, chunk, lane);
  }

  __device__ void load_values(const ElementWeight& w, int half_unit, int chunk, int lane) {
    const ElementLayout& l = w.layout;
#pragma unroll
    for (int p = 0; p < kPieces; ++p) {
      const int piece = chunk * kPieces + p;
      values[p] = make_uint4(0, 0, 0, 0);
      if (piece < l.pieces)
        values[p] = __ldcs(
            reinterpret_cast<const uint4*>(w.values + piece_byte(l, half_unit, piece, lane)));
    }
  }

  __device__ void load_choices(const ElementWeight& w, int half_unit, int chunk, int lane) {
    const int vector = row_vector(w, half_unit * 8 + lane / kElementLanes);
    if constexpr (kList)
      load_runs(w, vector, chunk, lane % kElementLanes);
    else
      load_words(w, vector, chunk, lane % kElementLanes);
  }

  __device__ void load_words(const ElementWeight& w, int vector, int chunk, int t) {
    const auto* words = reinterpret_cast<const std::uint32_t*>(w.choices);
#pragma unroll
    for (int i = 0; i < kWords; ++i) {
      const int word = chunk * kWords + i;
      choices[i] = word < w.layout.words ? __ldg(words + choice_word(w.layout, vector, t, word))
                                         : padding_word();
    }
  }

  /// Behind the end a mask still has its bits.
  static __device__ std::uint32_t padding_word() {
    if constexpr (kConfig.form.form != ChoiceForm::mask) return 0;
    std::uint32_t bits = 0;
    for (int b = 0; b < 32; b += kConfig.form.group)
      bits |= static_cast<std::uint32_t>((std::uint64_t{1} << kConfig.form.kept) - 1) << b;
    return bits;
  }

  /// Runs of a piece: 1 to 8 entries of 16 bits, aligned.
  __device__ void load_runs(const ElementWeight& w, int vector, int chunk, int t) {
    constexpr int kRun = kConfig.form.run, kPer = kConfig.per_piece();
    const auto* runs =
        reinterpret_cast<const std::uint16_t*>(w.choices) + run_number(w.layout, vector, 0);
#pragma unroll
    for (int p = 0; p < kPieces; ++p) {
      const int piece = chunk * kPieces + p;
      const bool there = piece < w.layout.pieces;
      // Behind the end: columns that the chunk has.
      const std::uint32_t none = there ? 0 : w.chunks[chunk].first * 0x10001u;
      const int slot = (piece * kElementLanes + t) * kPer;
      std::uint32_t* out = choices + p * kListWords;
      if constexpr (kRun >= kPer) {
        out[0] = there ? __ldg(runs + slot / w.layout.run) + slot % w.layout.run : none & 0xFFFF;
      } else if constexpr (kPer / kRun == 2) {
        out[0] = there ? __ldg(reinterpret_cast<const std::uint32_t*>(runs + slot / kRun)) : none;
      } else if constexpr (kPer / kRun == 4) {
        const uint2 raw = there ? __ldg(reinterpret_cast<const uint2*>(runs + slot / kRun))
                                : make_uint2(none, none);
        out[0] = raw.x, out[1] = raw.y;
      } else {
        const uint4 raw = there ? __ldg(reinterpret_cast<const uint4*>(runs + slot / kRun))
                                : make_uint4(none, none, none, none);
        out[0] = raw.x, out[1] = raw.y, out[2] = raw.z, out[3] = raw.w;
      }
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

  template <int kEntry>
  __device__ void add(const std::byte* column, float (&sum)[kConfig.tokens]) const {
    float x[kConfig.tokens];
    load_column<kConfig>(column, x);
#pragma unroll
    for (int i = 0; i < kConfig.tokens; ++i) sum[i] = fmaf(value<kEntry>(), x[i], sum[i]);
  }

  /// Both rows of a shared list: one look-up for two values.
  template <int kEntry>
  __device__ void add_two(const LookupItem& other, const std::byte* column,
                          float (&sum)[kConfig.tokens], float (&other_sum)[kConfig.tokens]) const {
    float x[kConfig.tokens];
    load_column<kConfig>(column, x);
#pragma unroll
    for (int i = 0; i < kConfig.tokens; ++i) {
      sum[i] = fmaf(value<kEntry>(), x[i], sum[i]);
      other_sum[i] = fmaf(other.template value<kEntry>(), x[i], other_sum[i]);
    }
  }

  template <int kEntry>
  __device__ std::uint32_t index() const {
    constexpr int kBits = kConfig.form.index_bits, kFirst = kEntry * kBits, kWord = kFirst / 32;
    constexpr int kShift = kFirst % 32;
    std::uint32_t bits = choices[kWord] >> kShift;
    if constexpr (kShift + kBits > 32)
      bits = __funnelshift_r(choices[kWord], choices[kWord + 1], kShift);
    return bits & ((1u << kBits) - 1);
  }

  /// @param x the activations of column 0.
  __device__ void multiply(const ElementWeight& w, const std::byte* x, int chunk, int t,
                           float (&sum)[kConfig.tokens]) const {
    if constexpr (kConfig.form.form == ChoiceForm::list)
      walk_list(
          x, [&]<int kEntry>(const std::byte* column) { add<kEntry>(column, sum); },
          std::make_integer_sequence<int, kChunkEntries>());
    else if constexpr (kConfig.form.form == ChoiceForm::mask)
      multiply_mask(x + group_byte(w, chunk * (kChunkEntries / kConfig.form.kept), t), sum,
                    std::make_integer_sequence<int, kChunkEntries>());
    else
      multiply_indices(w, x, chunk, t, sum, std::make_integer_sequence<int, kChunkEntries>());
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
  __device__ void multiply_both(const LookupItem& other, const std::byte* x,
                                float (&sum)[kConfig.tokens],
                                float (&other_sum)[kConfig.tokens]) const {
    walk_list(
        x,
        [&]<int kEntry>(const std::byte* column) {
          add_two<kEntry>(other, column, sum, other_sum);
        },
        std::make_integer_sequence<int, kChunkEntries>());
  }

 private:
  static __device__ int group_byte(const ElementWeight& w, int lane_group, int t) {
    return (lane_group * kElementLanes + t) * w.layout.group * kConfig.column_bytes();
  }

  template <int... kEntry>
  __device__ void multiply_indices(const ElementWeight& w, const std::byte* x, int chunk, int t,
                                   float (&sum)[kConfig.tokens],
                                   std::integer_sequence<int, kEntry...>) const {
    const int step = kElementLanes * w.layout.group * kConfig.column_bytes();
    constexpr int kKept = kConfig.form.kept;
    if constexpr (kKept > 0) {
      const std::byte* group = x + group_byte(w, chunk * (kChunkEntries / kKept), t);
      (add<kEntry>(group + kEntry / kKept * step + index<kEntry>() * kConfig.column_bytes(), sum),
       ...);
    } else {
      const int first = chunk * kChunkEntries, kept = w.layout.kept;
      const std::byte* group = x + group_byte(w, first / kept, t);
      int left = kept - first % kept;
      const auto next = [&] {
        if (--left == 0) left = kept, group += step;
      };
      ((add<kEntry>(group + index<kEntry>() * kConfig.column_bytes(), sum), next()), ...);
    }
  }

  template <int... kEntry>
  __device__ void multiply_mask(const std::byte* x, float (&sum)[kConfig.tokens],
                                std::integer_sequence<int, kEntry...>) const {
    constexpr int kKept = kConfig.form.kept, kGroup = kConfig.form.group;
    constexpr int kStep = kElementLanes * kGroup * kConfig.column_bytes();
    std::uint32_t bits = 0;
    const auto one = [&]<int kThis>() {
      constexpr int kNumber = kThis / kKept, kBit = kNumber * kGroup;
      if constexpr (kThis % kKept == 0)
        bits = choices[kBit / 32] >> kBit % 32 &
               static_cast<std::uint32_t>((std::uint64_t{1} << kGroup) - 1);
      const int highest = 31 - __clz(static_cast<int>(bits));
      bits ^= 1u << highest;
      add<kThis>(x + kNumber * kStep + highest * kConfig.column_bytes(), sum);
    };
    (one.template operator()<kEntry>(), ...);
  }

  template <typename Use, int... kEntry>
  __device__ void walk_list(const std::byte* x, const Use& use,
                            std::integer_sequence<int, kEntry...>) const {
    (use.template operator()<kEntry>(x + column<kEntry>() * kConfig.column_bytes()), ...);
  }
};

/// A chunk of one row of a lane, or of both.
template <LookupConfig kConfig>
struct LookupRows {
  static constexpr int kHalves = kConfig.halves();
  LookupItem<kConfig> row[kHalves];

  /// @param number of the item's unit or half unit.
  __device__ void load(const ElementWeight& w, int number, int chunk, int lane) {
#pragma unroll
    for (int h = 0; h < kHalves; ++h) {
      row[h].load_values(w, kHalves * number + h, chunk, lane);
      if (h == 0 || !kConfig.shared()) row[h].load_choices(w, kHalves * number + h, chunk, lane);
    }
  }
  __device__ void multiply(const ElementWeight& w, const std::byte* x, int chunk, int t,
                           float (&sum)[kHalves][kConfig.tokens]) const {
    if constexpr (kConfig.shared()) {
      row[0].multiply_both(row[1], x, sum[0], sum[1]);
    } else {
#pragma unroll
      for (int h = 0; h < kHalves; ++h) row[h].multiply(w, x, chunk, t, sum[h]);
    }
  }
};

}  // namespace coppice::cuda
