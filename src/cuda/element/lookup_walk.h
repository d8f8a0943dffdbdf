// The order of a warp's work in the look-up kernels: index arithmetic only, for tests as well.
#pragma once

#include "cuda/element/element_plan.h"

namespace coppice::cuda {

/// What a warp does, item by item: passes, in each its parts (units or half units), of each its
/// chunks.
struct LookupWalk {
  int first_part, end_part, part_step;  // of this warp
  int chunk, end_chunk;                 // of the rank, from the current pass on
  int pass_chunks, warp_chunks, chunk_warp;
  int part, now, first, end;  // where it is, and the chunks of each part

  /// @param units, chunks of the weight.
  COPPICE_HOST_DEVICE LookupWalk(const ElementSplit& s, int units, int chunks, int rank, int tile,
                                 int warp) {
    const int row_warp = s.row_warp(warp);
    first_part = s.first_part(tile) + row_warp;
    end_part = least(s.first_part(tile + 1), s.part_rows == kUnitRows ? units : 2 * units);
    part_step = s.row_warps;
    chunk = rank * s.rank_chunks;
    end_chunk = least(chunk + s.rank_chunks, chunks);
    pass_chunks = s.pass_chunks;
    warp_chunks = s.warp_chunks;
    chunk_warp = warp - row_warp * s.chunk_warps;
    begin_pass();
  }
  COPPICE_HOST_DEVICE int pass_end() const { return least(chunk + pass_chunks, end_chunk); }
  COPPICE_HOST_DEVICE void begin_pass() {
    part = first_part;
    now = first = least(chunk + chunk_warp * warp_chunks, pass_end());
    end = least(first + warp_chunks, pass_end());
  }
  /// Whether there is an item in this pass.
  COPPICE_HOST_DEVICE bool here() const { return part < end_part && now < end; }
  COPPICE_HOST_DEVICE bool last_of_part() const { return now + 1 == end; }
  COPPICE_HOST_DEVICE void next() {
    if (++now < end) return;
    now = first;
    part += part_step;
  }
  /// Goes to the next pass; false if there is none.
  COPPICE_HOST_DEVICE bool next_pass() {
    chunk += pass_chunks;
    begin_pass();
    return chunk < end_chunk;
  }
  /// Goes on to a pass with an item; false if there is none.
  COPPICE_HOST_DEVICE bool to_item() {
    while (!here())
      if (!next_pass()) return false;
    return true;
  }

 private:
  static COPPICE_HOST_DEVICE int least(int a, int b) { return a < b ? a : b; }
};

}  // namespace coppice::cuda
