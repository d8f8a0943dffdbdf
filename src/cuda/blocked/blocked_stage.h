// A stage of a blocked kernel: values of the tile's half units, and for every list of columns the
// activations of a step, brought in by asynchronous copies some steps ahead. What does not exist is
// not copied: outputs of such rows and tokens are not stored, pieces behind the end not multiplied.
#pragma once

#include "cuda/blocked/blocked_arguments.h"
#include "cuda/element/stage.h"
#include "cuda/ptx/barrier.h"
#include "cuda/ptx/copy.h"
#include "cuda/ptx/copy_4.h"

namespace coppice::cuda {

/// Columns on their way, for each thread a slot of every step, or of every kEvery-th one: list
/// entries are loaded two of these before `offset` is asked for them, and mapped to columns of x
/// one before: each wait for memory is hidden behind a step's products.
template <BlockedShape kShape, int kEvery = 1>
struct BlockedColumns {
  const BlockedArguments& p;
  const std::uint16_t* list;
  int slot;
  // As they were loaded: nothing is computed of them in the step that asks for them.
  int entry = 0, column = 0;

  /// @param tile_slot of a step: those of the tile's first list, of the second one and so on.
  /// @param first step.
  __device__ BlockedColumns(const BlockedArguments& arguments, int first_row, int tile_slot,
                            int first = 0)
      : p(arguments), slot(tile_slot % kShape.step_slots()) {
    const int vector = row_vector(p.weight, first_row) + tile_slot / kShape.step_slots();
    const int existing = min(vector, p.weight.layout.vectors - 1);
    list = reinterpret_cast<const std::uint16_t*>(p.weight.choices) +
           run_number(p.weight.layout, existing, 0);
    load_entry(first);
    load_column(first);
    load_entry(first + kEvery);
  }
  /// Bytes from x to the column of the step that is to come.
  __device__ std::int64_t offset() const {
    // Of padding, whose values are 0, any column.
    const std::int64_t any = column < 0 ? 0 : column;
    return any * p.x_column * 4;
  }
  /// It is `step`; the next ones move up.
  __device__ void advance(int step) {
    load_column(step + kEvery);
    load_entry(step + 2 * kEvery);
  }

 private:
  __device__ int place(int step) const { return step * kShape.step_slots() + slot; }
  __device__ void load_entry(int step) {
    const int run = place(step) >> p.run_shift;
    entry = run < p.weight.layout.words ? __ldg(list + run) : 0;
  }
  __device__ void load_column(int step) {
    column = activation_column(p.weight, entry + (place(step) & (p.weight.layout.run - 1)));
  }
};

/// Stores a lane's 16 bytes of a piece of a half unit, four slots of a row, so that the rows of a
/// slot lie together. @param piece of the step.
template <BlockedShape kShape>
__device__ void turn_values(std::byte* to, int half_unit, int piece, int lane, const float4& v) {
  const int row = 8 * half_unit + lane / 4, slot = BlockedShape::kSlots * piece + lane % 4 * 4;
  auto* out = reinterpret_cast<float*>(to + slot * kShape.slot_bytes() + row * 4);
  constexpr int kNext = kShape.slot_bytes() / 4;
  out[0] = v.x, out[kNext] = v.y, out[2 * kNext] = v.z, out[3 * kNext] = v.w;
}

/// Values of a step, 16 bytes a copy: as they lie by asynchronous copies, or turned, so that the
/// rows of a slot lie together, through registers: loaded a step before they are stored, and that a
/// step before they are multiplied.
template <BlockedShape kShape>
struct BlockedValues {
  static constexpr int kThreads = kShape.threads(), kUnit = kShape.step_pieces() * 32;
  static constexpr int kCopies = kShape.half_units() * kUnit;
  static constexpr int kTurns = (kCopies + kThreads - 1) / kThreads;

  const std::byte* from[kTurns];
  int pieces[kTurns];  // to come from the copy's first on; 0: rows that do not exist
  float4 ahead[kTurns];

  __device__ BlockedValues(const BlockedArguments& p, int first_row) {
    const ElementLayout& l = p.weight.layout;
#pragma unroll
    for (int i = 0; i < kTurns; ++i) {
      const int n = i * kThreads + static_cast<int>(threadIdx.x), unit = n / kUnit;
      const bool exists = n < kCopies && first_row / 8 + unit < 2 * l.units();
      pieces[i] = exists ? l.pieces - n % kUnit / 32 : 0;
      from[i] = p.weight.values +
                (exists ? piece_byte(l, first_row / 8 + unit, n % kUnit / 32, n % 32) : 0);
      ahead[i] = make_float4(0, 0, 0, 0);
    }
  }
  __device__ const std::byte* at(int i, int step) const {
    return from[i] + std::int64_t{step} * kShape.unit_bytes();
  }
  __device__ bool exists(int i, int step) const { return step * kShape.step_pieces() < pieces[i]; }

  __device__ void load(int step) {
#pragma unroll
    for (int i = 0; i < kTurns; ++i)
      if (exists(i, step)) ahead[i] = __ldg(reinterpret_cast<const float4*>(at(i, step)));
  }
  __device__ void store_turned(std::byte* to) const {
#pragma unroll
    for (int i = 0; i < kTurns; ++i) {
      const int n = i * kThreads + static_cast<int>(threadIdx.x);
      if (kCopies % kThreads != 0 && n >= kCopies) break;
      turn_values<kShape>(to, n / kUnit, n % kUnit / 32, n % 32, ahead[i]);
    }
  }
  __device__ void copy(int step, std::uint32_t to) const {
#pragma unroll
    for (int i = 0; i < kTurns; ++i)
      ptx::copy_async_16_if(
          exists(i, step),
          to + static_cast<std::uint32_t>(i * kThreads + static_cast<int>(threadIdx.x)) * 16,
          at(i, step));
  }
};

/// Activations of a step. Of whole tiles by the copy engine, one copy for a column, by a lane of
/// some warps, on devices that have it; else 16 bytes at a time, and single tokens at the end.
template <BlockedShape kShape>
struct BlockedActivations {
  static constexpr int kChunks = kShape.tokens() / 4, kThreads = kShape.threads();
  static constexpr int kRows = kThreads / kChunks;  // copied at a time
  static constexpr int kThreadRows = kShape.step_slots() / kRows;
  static constexpr int kIssuers = kShape.warps() < 4 ? kShape.warps() : 4;
  static constexpr int kIssuerRows = kShape.step_slots() / kIssuers;
  static_assert(kThreads % kChunks == 0 && kThreadRows % 2 == 0);

  /// Copies of a kilobyte and more.
#if __CUDA_ARCH__ >= 900
  static constexpr bool kBulk = kShape.tokens() >= 256;
#else
  static constexpr bool kBulk = false;
#endif

  int lists;
  bool whole;          // by the copy engine
  const std::byte* x;  // of the tile's tokens, or of this thread's chunk of four
  int tokens;          // of the chunk that exist
  int chunk, row;      // and its first row of a list

  __device__ BlockedActivations(const BlockedArguments& p, int first_token)
      : lists(p.lists),
        chunk(static_cast<int>(threadIdx.x) % kChunks),
        row(static_cast<int>(threadIdx.x) / kChunks * kThreadRows) {
    whole = kBulk && first_token + kShape.tokens() <= p.tokens;
    x = ptx::opaque(static_cast<const std::byte*>(p.x) +
                    std::int64_t{first_token + (whole ? 0 : 4 * chunk)} * 4);
    tokens = max(0, min(4, p.tokens - first_token - 4 * chunk));
  }

  /// Slot s of list l is the column at ring[l * step_slots + s].
  __device__ void copy(const std::int64_t* ring, std::uint32_t to, std::uint32_t barrier) const {
    if (whole)
      copy_columns(ring, to, barrier);
    else
      copy_chunks(ring, to);
  }

 private:
  __device__ void copy_columns(const std::int64_t* ring, std::uint32_t to,
                               std::uint32_t barrier) const {
#if __CUDA_ARCH__ >= 900
    const int warp = static_cast<int>(threadIdx.x) / 32;
    if (threadIdx.x % 32 != 0 || warp >= kIssuers) return;
    constexpr std::uint32_t kBytes = kShape.tokens() * 4;
    if (warp == 0) ptx::barrier_arrive_expect(barrier, lists * kShape.step_slots() * kBytes);
    for (int list = 0; list < lists; ++list) {
      const int first = warp * kIssuerRows;
      const std::int64_t* columns = ring + list * kShape.step_slots() + first;
      const std::uint32_t out = to + static_cast<std::uint32_t>(list * kShape.list_bytes());
#pragma unroll
      for (int i = 0; i < kIssuerRows; ++i)
        ptx::copy_bulk(out + static_cast<std::uint32_t>(kShape.slot_offset(first + i)),
                       x + columns[i], kBytes, barrier);
    }
#endif
  }

  __device__ void copy_chunks(const std::int64_t* ring, std::uint32_t to) const {
    for (int list = 0; list < lists; ++list) {
      const std::int64_t* columns = ring + list * kShape.step_slots() + row;
      const std::uint32_t out = to + static_cast<std::uint32_t>(list * kShape.list_bytes());
      if (tokens == 4) {
#pragma unroll
        for (int i = 0; i < kThreadRows; ++i) ptx::copy_async_16(out + offset(i), x + columns[i]);
        continue;
      }
#pragma unroll 1
      for (int i = 0; i < kThreadRows * tokens; ++i)
        ptx::copy_async_4(out + offset(i / tokens) + i % tokens * 4,
                          x + columns[i / tokens] + i % tokens * 4);
    }
  }

  /// In a list, of the chunk of the thread's row i.
  __device__ std::uint32_t offset(int i) const {
    return static_cast<std::uint32_t>(kShape.slot_offset(row + i) + chunk * 16);
  }
};

}  // namespace coppice::cuda
