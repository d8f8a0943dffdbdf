// The shared memory that follows from a DecodeShape. Host arithmetic, shared with the kernels.
#pragma once

#include <algorithm>
#include <cstdint>

#include "cuda/decode_shape.h"
#include "cuda/packed_layout.h"

namespace coppice::cuda {

/// Thread blocks on a multiprocessor that registers allow (8 warps each).
constexpr int decode_residents(int tokens) { return tokens <= 16 ? 2 : 1; }

namespace decode {

inline constexpr int kWarps = 8;        ///< of a thread block
inline constexpr int kMostCluster = 8;  ///< portable size
inline constexpr int kMostWeights = 4;  ///< of one launch

/// Whether a shape is one of the ring kernels (decode_ring_kernel.h), which have no chunks of
/// activations; in these a warp may have several slices, one after the other.
constexpr bool is_ring(const DecodeShape& s) { return s.chunk_steps == 0; }
constexpr int warp_slices(const DecodeShape& s) { return s.cluster; }

/// Columns of activations that `steps` steps of a slice need: a window, or all of them where quads
/// may lie anywhere.
constexpr std::int64_t window_columns(bool regular, int group, std::int64_t cols, int steps) {
  return regular ? std::int64_t{kStepQuads} * group * steps : (cols + 7) / 8 * 8;
}

/// Bytes between panels of 8 tokens of `columns` columns: a row of 16 bytes for each; 16 more so
/// that panels begin at different banks.
constexpr std::int64_t panel_bytes(std::int64_t columns) { return columns * 16 + 16; }

/// Of a chunk of activations: windows of all slices, or all columns once.
constexpr std::int64_t activation_bytes(const DecodeShape& s, bool regular, int group,
                                        std::int64_t cols) {
  const std::int64_t window = window_columns(regular, group, cols, s.chunk_steps);
  return s.panels() * panel_bytes(regular ? window * s.slice_warps : window);
}

/// Sums of a warp, 64 rows, in fragments of 16 rows x 8 tokens.
constexpr int kFragmentBytes = 512;
constexpr int sum_bytes(int tokens) { return kBlockUnits * (tokens / 8) * kFragmentBytes; }

/// A part is 16 rows x 32 tokens at most: what one warp finishes.
constexpr int part_fragments(int tokens) { return std::min(tokens / 8, 4); }
constexpr int part_count(const DecodeShape& s) {
  return s.row_warps * kBlockUnits * (s.panels() / part_fragments(s.tokens));
}

/// Parts are dealt out to the thread blocks of a cluster in turn; each receives the sums of all.
constexpr std::int64_t received_bytes(const DecodeShape& s) {
  const int owned = (part_count(s) + s.cluster - 1) / s.cluster;
  return std::int64_t{owned} * s.cluster * part_fragments(s.tokens) * kFragmentBytes;
}

/// Whether warps leave their sums in shared memory: not if each has the only slice of its rows in
/// this thread block, and others of the cluster finish them.
constexpr bool keeps_sums(const DecodeShape& s) { return s.slice_warps > 1 || s.cluster == 1; }
constexpr int kept_sum_bytes(const DecodeShape& s) {
  return keeps_sums(s) ? s.warps() * sum_bytes(s.tokens) : 0;
}

/// These, and what the cluster's thread blocks send for the rows that this one finishes. They take
/// the place of activations.
constexpr std::int64_t reduction_bytes(const DecodeShape& s) {
  return kept_sum_bytes(s) + (s.cluster == 1 ? 0 : received_bytes(s));
}

constexpr std::int64_t shared_bytes(const DecodeShape& s, bool regular, int group,
                                    std::int64_t cols) {
  return std::max(activation_bytes(s, regular, group, cols), reduction_bytes(s));
}

}  // namespace decode
}  // namespace coppice::cuda
