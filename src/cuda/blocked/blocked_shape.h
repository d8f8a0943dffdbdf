// How the kernels of many tokens divide a product of a weight whose vectors of rows share columns
// (ChoiceForm::list), with activations gathered a column at a time. Index arithmetic only, for the
// host and the device.
#pragma once

#include <array>

#include "cuda/element/element_layout.h"

namespace coppice::cuda {

/// By what a blocked kernel multiplies.
enum class BlockedMath : std::uint8_t {
  fp32,   ///< CUDA cores
  tf32,   ///< tensor cores, operands rounded to 10 bits behind the point
  split,  ///< tensor cores, operands as the sum of two such numbers: three products
};

/// A tile: rows() x tokens(). A warp has warp_rows() x warp_tokens of it; `slices` groups of warps
/// divide the columns alive of every step.
struct BlockedShape {
  BlockedMath math = BlockedMath::fp32;
  int row_warps = 1, token_warps = 8;
  int warp_units = 4;    ///< half units of 8 rows of a warp
  int warp_tokens = 64;  ///< fp32: 64 or 128
  int slices = 1;
  int stages = 3;
  int thread_blocks = 2;  ///< on one multiprocessor
  /// Kernels of short vectors (blocked_window.h): lists of columns of four rows, 1 or 4. 0: others.
  int row_lists = 0;
  /// Kernels of warpgroups (blocked_wgmma_kernel.h): pieces whose sums tensor cores add up before
  /// CUDA cores add them to the others (one product: all of them). 0: others. Eight warps of 32
  /// tokens multiply, all rows of the tile each; others bring operands.
  int group_pieces = 0;

  constexpr bool windowed() const { return row_lists > 0; }
  constexpr bool warpgroups() const { return group_pieces > 0; }
  /// Kernels of CUDA cores whose operands other warps bring (blocked_fed_kernel.h).
  constexpr bool fed() const {
    return math == BlockedMath::fp32 && !windowed() && warp_tokens == 128;
  }
  constexpr int warps() const { return row_warps * token_warps * slices; }
  constexpr int threads() const { return 32 * (warps() + producers()); }
  constexpr int half_units() const { return row_warps * warp_units; }
  constexpr int rows() const { return 8 * half_units(); }
  constexpr int tokens() const { return token_warps * warp_tokens; }
  constexpr int step_pieces() const { return slices; }
  constexpr int step_slots() const { return kSlots * step_pieces(); }

  static constexpr int kSlots = 16;  ///< of a piece of 32-bit values
  static constexpr int kPieceRows = 512;
  /// Warpgroups: warps that bring operands. Of three products four load and as many divide the
  /// values; of one product the copy engine brings the values, ordered by one warp. Sums of 128
  /// rows need the registers of the others.
  /// Fed kernels: registers change hands between whole warpgroups.
  constexpr int producers() const {
    if (fed()) return 4;
    return !warpgroups() ? 0 : half_units() > 8 ? 4 : 8;
  }
  constexpr bool boxes() const { return warpgroups() && math == BlockedMath::tf32; }
  constexpr int loaders() const {
    if (fed()) return 3;
    return !warpgroups() ? 0 : half_units() > 8 ? 3 : 4;
  }
  /// Loading warps that share a stage; where they are three, each has every third one.
  constexpr int stage_loaders() const { return loaders() == 3 ? 1 : loaders(); }

  /// Tensor cores read values as they lie, from stages; CUDA cores those of a slot together, from
  /// two buffers, or from stages as well (fed kernels). Rows of a buffer are kPad bytes longer than
  /// they need to be, against bank conflicts.
  static constexpr int kPad = 16;
  constexpr bool turns() const { return math == BlockedMath::fp32; }
  constexpr int unit_bytes() const { return step_pieces() * kPieceRows; }
  /// Warpgroups find the two parts of a value in two copies.
  constexpr int copies() const { return warpgroups() && math == BlockedMath::split ? 2 : 1; }
  constexpr int weight_bytes() const {
    if (fed()) return turned_bytes();
    return turns() ? 0 : half_units() * unit_bytes() * copies();
  }
  constexpr int slot_bytes() const { return rows() * 4 + kPad; }
  constexpr int turned_bytes() const { return turns() ? step_slots() * slot_bytes() : 0; }

  /// Where the activations of a slot lie in their list. Tensor cores read slots that are four
  /// apart, and eight tokens, at once: from all banks.
  /// Warpgroups: four slots that follow each other.
  constexpr int slot_offset(int slot) const {
    return slot * tokens() * 4 + (turns() ? 0 : (warpgroups() ? slot : slot / 4) * 32);
  }
  constexpr int list_bytes() const { return slot_offset(step_slots()); }
  /// Of a stage whose tile has so many lists of columns.
  constexpr int stage_bytes(int lists) const { return weight_bytes() + lists * list_bytes(); }

  // A thread block: columns of two steps, a barrier for every stage, two buffers of values, stages.
  constexpr int column_bytes(int lists) const {
    return warpgroups() || fed() ? 0 : 2 * lists * step_slots() * 8;
  }
  static constexpr int kBarrier = 8, kBarrierBytes = 64;
  /// Fed kernels: registers of a thread that multiplies, and of one that does not.
  static constexpr int kFedRegisters = 200, kFeederRegisters = 56;
  constexpr int fixed_bytes(int lists) const {
    if (fed()) return 2 * kBarrierBytes;  // rows of activations are lines of 128 bytes
    return column_bytes(lists) + kBarrierBytes + 2 * turned_bytes();
  }
  /// Sums of a tile on their way out, where the stages were.
  constexpr int sum_stride() const { return tokens() + 4; }
  constexpr int sum_bytes() const { return rows() * sum_stride() * 4; }
  constexpr int shared_bytes(int lists) const {
    if (warpgroups()) return stages * (stage_bytes(lists) + (boxes() ? 4 : 3) * kBarrier);
    const int ring = stages * stage_bytes(lists);
    return fixed_bytes(lists) + (ring > sum_bytes() ? ring : sum_bytes());
  }
};

/// Where the sum of a token of the tile lies (BlockedFma::keep).
COPPICE_HOST_DEVICE constexpr int blocked_sum_token(const BlockedShape& s, int token) {
  return s.turns() && !s.windowed() ? token ^ 1 : token;
}

/// All that are compiled.
inline constexpr std::array kBlockedShapes = {
    BlockedShape{BlockedMath::fp32, 1, 4, 4, 64, 1, 3, 4},
    BlockedShape{BlockedMath::fp32, 1, 2, 4, 32, 4, 3, 2},  // few tiles
    BlockedShape{BlockedMath::split, 1, 4, 4, 64, 1, 3, 3},
    BlockedShape{BlockedMath::split, 1, 2, 4, 32, 4, 3, 2},
    BlockedShape{BlockedMath::tf32, 1, 4, 4, 64, 1, 3, 4},
    BlockedShape{BlockedMath::split, 2, 2, 8, 64, 1, 3, 2},  // vectors of 128 rows
    BlockedShape{BlockedMath::tf32, 2, 2, 8, 64, 1, 3, 2},
    BlockedShape{BlockedMath::fp32, 12, 1, 2, 128, 1, 2, 1, 1},  // vectors of 4 rows
    BlockedShape{BlockedMath::fp32, 6, 1, 2, 128, 1, 2, 2, 1},
    BlockedShape{BlockedMath::fp32, 12, 1, 2, 128, 1, 2, 1, 4},  // of single rows
    BlockedShape{BlockedMath::fp32, 6, 1, 2, 128, 1, 2, 2, 4},
    BlockedShape{BlockedMath::split, 1, 8, 1, 32, 1, 12, 1, 0, 2},  // warpgroups
    BlockedShape{BlockedMath::split, 1, 8, 2, 32, 1, 12, 1, 0, 2},
    BlockedShape{BlockedMath::split, 1, 8, 4, 32, 1, 8, 1, 0, 2},
    BlockedShape{BlockedMath::split, 1, 8, 8, 32, 1, 8, 1, 0, 2},
    BlockedShape{BlockedMath::tf32, 1, 8, 1, 32, 1, 12, 1, 0, 1},
    BlockedShape{BlockedMath::tf32, 1, 8, 2, 32, 1, 12, 1, 0, 1},
    BlockedShape{BlockedMath::tf32, 1, 8, 4, 32, 1, 12, 1, 0, 1},
    BlockedShape{BlockedMath::tf32, 1, 8, 8, 32, 1, 8, 1, 0, 1},
    BlockedShape{BlockedMath::tf32, 1, 8, 16, 32, 1, 9, 1, 0, 1},
    BlockedShape{BlockedMath::fp32, 1, 4, 4, 128, 1, 3, 2},  // fed
};

}  // namespace coppice::cuda
