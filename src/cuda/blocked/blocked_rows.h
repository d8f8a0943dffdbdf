// The 16 rows of a warp in a kernel of short vectors: values and columns of a step on their way
// from the packed weight to slots in shared memory (blocked_window.h). No other warp reads them.
#pragma once

#include "cuda/blocked/blocked_arguments.h"
#include "cuda/element/stage.h"
#include "cuda/ptx/barrier.h"
#include "cuda/ptx/copy.h"

namespace coppice::cuda {

template <BlockedShape kShape>
struct BlockedRows {
  static constexpr int kLists = 4 * kShape.row_lists;  // of the warp
  static constexpr int kTogether = 32 / kLists;        // items of a list, a lane for each
  static constexpr int kColumnBytes = kShape.tokens() * 4;

  const BlockedArguments& p;
  std::byte* raw;      // [streams * chunks][4 rows of a quarter][4 quarters][4 values]
  std::byte* values;   // [slots][4 quarters][4 rows]
  std::byte* offsets;  // see offset_byte
  int lane, list;
  const std::byte* from;  // of this lane's row, or null: there is none
  const std::byte* choices;
  std::uint32_t ahead[kListWords] = {};  // of the lists, of the step after the one in `raw`

  __device__ BlockedRows(const BlockedArguments& arguments, std::byte* shared, int first_row)
      : p(arguments),
        raw(shared),
        values(raw + p.window.raw_bytes()),
        offsets(values + p.window.value_bytes()),
        lane(static_cast<int>(threadIdx.x) % 32),
        list(lane % kLists) {
    const ElementLayout& l = p.weight.layout;
    const int quarter = lane % 4, row = lane / 4 % 4;
    const int half_unit = first_row / 8 + quarter / 2;
    from = half_unit < 2 * l.units()
               ? p.weight.values + piece_byte(l, half_unit, 0, (quarter % 2 * 4 + row) * 4)
               : nullptr;
    const int vector = row_vector(p.weight, first_row + (kShape.row_lists == 1 ? 4 * list : list));
    choices = p.weight.choices +
              (l.in_groups() ? 4 * choice_word(l, vector, 0, 0) : 2 * run_number(l, vector, 0));
  }

  /// Asks for the lists of a step.
  __device__ void load_lists(const BlockedStep& s) {
    if (s.slots == 0) return;
    const ElementLayout& l = p.weight.layout;
    if (l.in_groups()) {
      const int word = static_cast<int>(choice_bit(s) / 32);
#pragma unroll
      for (int k = 0; k < kListWords / 2; ++k) {
        const int stream = lane / kLists + k * kTogether;
        if (stream >= p.window.streams()) break;
        const auto* at = reinterpret_cast<const std::uint32_t*>(choices) + s.stream + stream;
        ahead[2 * k] = __ldg(at + word * 32);
        ahead[2 * k + 1] = word + 1 < l.words ? __ldg(at + word * 32 + 32) : 0;
      }
    } else {
#pragma unroll
      for (int k = 0; k < kListWords; ++k) {
        const int run = lane / kLists + k * kTogether;
        if (run * l.run >= s.slots) break;
        ahead[k] =
            __ldg(reinterpret_cast<const std::uint16_t*>(choices) + (s.start >> p.run_shift) + run);
      }
    }
  }

  /// Asks for the values of a step.
  __device__ void copy(const BlockedStep& s) const {
    if (from == nullptr) return;
    std::uint32_t to = ptx::shared_address(raw) + static_cast<std::uint32_t>(lane) * kPieceBytes;
    const int chunks = s.chunks() << p.window.stream_shift;
#pragma unroll 2
    for (int n = lane / 16; n < chunks; n += 2, to += 2 * kChunkBytes)
      ptx::copy_async_16(to, from + chunk_byte(p.weight.layout, p.window, s, n));
  }

  /// Turns the values that have come, and notes where the activations of their slots lie.
  __device__ void turn(const BlockedStep& s) const {
    if (s.slots == 0) return;
    turn_values(s);
    if (p.weight.layout.in_groups())
      note_groups(s);
    else
      note_runs(s);
    const int slots = s.slots << p.window.stream_shift;
    const int padded = (slots + 3) & ~3;
    for (int n = lane; n < (padded - slots) * 4; n += 32)
      *reinterpret_cast<float4*>(values + slots * kSlotBytes + n * 16) = make_float4(0, 0, 0, 0);
    // What is read ahead of its use: four slots more.
    for (int n = lane / kLists; n < padded + 4 - slots; n += kTogether) note(slots + n, 0);
  }

 private:
  __device__ unsigned choice_bit(const BlockedStep& s) const {
    return static_cast<unsigned>(s.level * p.weight.layout.choice_bits);
  }
  __device__ void note(int slot, int column) const {
    *reinterpret_cast<std::uint32_t*>(offsets + offset_byte(kShape.row_lists, slot, list)) =
        static_cast<std::uint32_t>(column * kColumnBytes);
  }

  __device__ void turn_values(const BlockedStep& s) const {
    const int quarter = lane % 4, chunks = s.chunks();
#pragma unroll 1
    for (int n = lane / 4; n < chunks << p.window.stream_shift; n += 8) {
      float v[4][4];
#pragma unroll
      for (int row = 0; row < 4; ++row) {
        const float4 four = *reinterpret_cast<const float4*>(raw + n * kChunkBytes + row * 64 +
                                                             quarter * kPieceBytes);
        v[row][0] = four.x, v[row][1] = four.y, v[row][2] = four.z, v[row][3] = four.w;
      }
      const int chunk = n >> p.window.stream_shift;
      const int stream = n - (chunk << p.window.stream_shift);
      const int first = (s.chunk() + chunk) * kChunkValues - s.start;
      std::byte* to = values + (stream * s.slots + first) * kSlotBytes + quarter * 16;
#pragma unroll
      for (int i = 0; i < kChunkValues; ++i)
        if (first + i >= 0 && first + i < s.slots)
          *reinterpret_cast<float4*>(to + i * kSlotBytes) =
              make_float4(v[0][i], v[1][i], v[2][i], v[3][i]);
    }
  }

  __device__ void note_groups(const BlockedStep& s) const {
    const ElementLayout& l = p.weight.layout;
    const unsigned bit = choice_bit(s);
#pragma unroll
    for (int k = 0; k < kListWords / 2; ++k) {
      const int stream = lane / kLists + k * kTogether;
      if (stream >= p.window.streams()) break;
      std::uint32_t bits = __funnelshift_r(ahead[2 * k], ahead[2 * k + 1], bit % 32);
      const bool mask = l.form == ChoiceForm::mask;
      if (mask) bits &= 0xffffffffu >> (32 - l.choice_bits);
      const std::uint32_t index_mask = (1u << l.index_bits) - 1;
      const int first = (s.part * p.window.streams() + stream) * l.group;
      int slot = stream * s.slots;
#pragma unroll 1
      for (int i = 0; i < l.kept; ++i) {
        int block;
        if (mask) {
          block = 31 - __clz(static_cast<int>(bits));
          bits ^= 1u << block;
        } else {
          block = static_cast<int>(bits & index_mask);
          bits >>= l.index_bits;
        }
        if (l.block_cols == 1) {
          note(slot++, first + block);
          continue;
        }
#pragma unroll 1
        for (int c = 0; c < l.block_cols; ++c) note(slot++, (first + block) * l.block_cols + c);
      }
    }
  }

  __device__ void note_runs(const BlockedStep& s) const {
    const ElementLayout& l = p.weight.layout;
#pragma unroll
    for (int k = 0; k < kListWords; ++k) {
      const int slot = (lane / kLists + k * kTogether) * l.run;
      if (slot >= s.slots) break;
#pragma unroll 1
      for (int c = 0; c < l.run; ++c) note(slot + c, static_cast<int>(ahead[k]) - s.column + c);
    }
  }
};

}  // namespace coppice::cuda
