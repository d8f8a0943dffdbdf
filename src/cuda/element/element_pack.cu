// Packing: every word of the packed arrays is gathered from the canonical ones
// (element_source.h). A load-time kernel: it is correct for every pattern first.
#include <algorithm>

#include "cuda/check.h"
#include "cuda/element/element_arguments.h"

namespace coppice::cuda {
namespace {

constexpr int kThreads = 256;

// One piece of 16 bytes a thread.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    pack_values_kernel(const ElementWeight w, const ElementSource s) {
  const ElementLayout& l = w.layout;
  const std::int64_t pieces = std::int64_t{2} * l.units() * l.pieces * 32;
  for (std::int64_t i = std::int64_t{blockIdx.x} * kThreads + threadIdx.x; i < pieces;
       i += std::int64_t{gridDim.x} * kThreads) {
    const int lane = piece_lane(l, static_cast<int>(i % 32));
    const int piece = static_cast<int>(i / 32 % l.pieces);
    const int row = static_cast<int>(i / 32 / l.pieces) * 8 + lane / kElementLanes;
    constexpr int kPer = kPieceBytes / sizeof(T);
    union {
      T values[kPer];
      uint4 bytes;
    } out;
#pragma unroll
    for (int e = 0; e < kPer; ++e) {
      int from = -1;
      if (row < l.rows) from = canonical_value(s, {lane % kElementLanes, piece * kPer + e});
      out.values[e] = from < 0 ? T{0} : static_cast<const T*>(s.values)[row * s.kept + from];
    }
    reinterpret_cast<uint4*>(w.values)[i] = out.bytes;
  }
}

// Words of choices, or runs of lists; behind them the sources.
__global__ void __launch_bounds__(kThreads)
    pack_choices_kernel(const ElementWeight w, const ElementSource s) {
  const ElementLayout& l = w.layout;
  const std::int64_t choices = choice_bytes(l) / (l.in_groups() ? 4 : 2);
  for (std::int64_t i = std::int64_t{blockIdx.x} * kThreads + threadIdx.x;
       i < choices + w.source_count; i += std::int64_t{gridDim.x} * kThreads) {
    if (i >= choices) {
      const auto place = static_cast<std::int32_t>(i - choices);
      w.sources[place] = source_column(s, place);
    } else if (l.in_groups()) {
      const int lane = static_cast<int>(i % 32), word = static_cast<int>(i / 32 % l.words);
      const int vector = static_cast<int>(i / 32 / l.words) * kVectorBlock + lane / kElementLanes;
      reinterpret_cast<std::uint32_t*>(w.choices)[i] =
          packed_word(s, vector, lane % kElementLanes, word);
    } else {
      reinterpret_cast<std::uint16_t*>(w.choices)[i] =
          run_column(s, static_cast<int>(i / l.words), static_cast<int>(i % l.words));
    }
  }
}

unsigned thread_blocks(std::int64_t items) {
  return static_cast<unsigned>(
      std::min<std::int64_t>((items + kThreads - 1) / kThreads, std::int64_t{1} << 20));
}

}  // namespace

void launch_element_pack(const ElementWeight& w, const ElementSource& s, cudaStream_t stream) {
  const std::int64_t pieces = value_bytes(w.layout) / kPieceBytes;
  if (pieces > 0) {
    if (w.layout.element_bytes == 4)
      pack_values_kernel<std::uint32_t><<<thread_blocks(pieces), kThreads, 0, stream>>>(w, s);
    else
      pack_values_kernel<std::uint16_t><<<thread_blocks(pieces), kThreads, 0, stream>>>(w, s);
    check(cudaGetLastError(), "launching the packing of a weight");
  }
  const std::int64_t choices =
      choice_bytes(w.layout) / (w.layout.in_groups() ? 4 : 2) + w.source_count;
  if (choices > 0) {
    pack_choices_kernel<<<thread_blocks(choices), kThreads, 0, stream>>>(w, s);
    check(cudaGetLastError(), "launching the packing of choices");
  }
}

}  // namespace coppice::cuda
