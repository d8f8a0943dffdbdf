// One warp's way through its slice of a block: records straight from memory to registers, one
// ahead, and products with the activations in shared memory.
#pragma once

#include "cuda/kernels/columns.h"
#include "cuda/kernels/decode_arguments.h"
#include "cuda/kernels/decode_layout.h"
#include "cuda/kernels/sparse_mma_layout.h"
#include "cuda/ptx/load_once.h"
#include "cuda/ptx/mma.h"

namespace coppice::cuda::decode {

/// Lists of columns that a block is read with: at least one, if only for arrays of that size.
template <int kLists>
inline constexpr int kOwnLists = kLists == 0 ? 1 : kLists;

/// What a lane holds of a record: rows g and g + 8 of every unit, metadata, and what the lists of
/// the block's vectors say of the lane's two places.
template <int kLists>
struct Record {
  std::uint32_t values[kBlockUnits][2][4];
  std::uint32_t metadata[kBlockUnits];
  std::uint32_t listed[kOwnLists<kLists>][2];
};

/// Records of a slice one after the other. kLists: lists of columns in a block (1, 2 or 4), or 0:
/// all columns are alive in order.
template <int kLists>
class RecordWalk {
 public:
  __device__ RecordWalk(const ProductArguments& p, std::int32_t block, int step, int lane)
      : p_(p), lane_(lane) {
    const std::byte* record =
        p.records + (static_cast<std::int64_t>(block) * p.steps + step) * kRecordBytes;
    record_ = record + 4 * lane;
#pragma unroll
    for (int v = 0; v < kLists; ++v) {
      const std::int32_t vector =
          __ldg(&p.units[block * kBlockUnits + v * (kBlockUnits / kOwnLists<kLists>)].vector);
      lists_[v] = column_list(p, vector) + step * (kStepQuads * p.columns.quad_bytes);
    }
  }

  /// The next record.
  __device__ void load(Record<kLists>& r) {
#pragma unroll
    for (int u = 0; u < kBlockUnits; ++u)
#pragma unroll
      for (int i = 0; i < 8; ++i)
        r.values[u][i / 4][i % 4] =
            ptx::load_once_4(record_ + value_offset(2 * u + i % 2, i / 2, 0));
#pragma unroll
    for (int u = 0; u < kBlockUnits; ++u)
      r.metadata[u] = ptx::load_once_4(record_ + metadata_offset(u, 0));
    record_ += kRecordBytes;
#pragma unroll
    for (int v = 0; v < kLists; ++v) {
#pragma unroll
      for (int j = 0; j < 2; ++j) r.listed[v][j] = listed(lists_[v], place_of_lane(lane_, j));
      lists_[v] += kStepQuads * p_.columns.quad_bytes;
    }
  }

 private:
  // Bits of a place of a packed list (see mma::packed_place).
  __device__ std::uint32_t listed(const std::byte* list, int place) const {
    const mma::PackedPlace at = mma::packed_place(place, p_.columns.quad_bytes);
    const auto* bytes = reinterpret_cast<const unsigned char*>(list) + at.byte;
    std::uint32_t bits = __ldg(bytes);
    if (p_.columns.quad_bytes > 1) bits |= static_cast<std::uint32_t>(__ldg(bytes + 1)) << 8;
    return bits >> at.shift;
  }

  const ProductArguments& p_;
  int lane_;
  const std::byte* record_;  // this lane's first word of the next
  const std::byte* lists_[kOwnLists<kLists>];
};

/// Sums of a block's 64 rows and 8 * kPanels tokens.
template <int kPanels>
struct Sums {
  float d[kBlockUnits][kPanels][4];
};

/// Where a warp finds its activations.
struct PanelPlace {
  std::uint32_t shared;  ///< panel 0
  std::uint32_t panel;   ///< bytes to the next panel
};

template <int kPanels, Dtype kType, int kLists, int kInstruction>
__device__ inline void multiply_half(Sums<kPanels>& sums, const Record<kLists>& r,
                                     const PanelPlace& at, const std::uint32_t* rows) {
  constexpr int kOwn = kOwnLists<kLists>;
#pragma unroll
  for (int n = 0; n < kPanels; ++n) {
    std::uint32_t b[4];
#pragma unroll
    for (int u = 0; u < kBlockUnits; ++u) {
      if (u % (kBlockUnits / kOwn) == 0)
        ptx::load_matrix_4_transposed(b, rows[u / (kBlockUnits / kOwn)] + n * at.panel);
      ptx::sparse_mma<kType, kInstruction>(sums.d[u][n], r.values[u][kInstruction], b,
                                           r.metadata[u]);
    }
  }
}

/// Adds the product of a record. `position`: where the columns of its step begin in the panels.
template <int kPanels, Dtype kType, int kLists>
__device__ inline void multiply_record(Sums<kPanels>& sums, const Record<kLists>& r,
                                       const ProductArguments& p, const PanelPlace& at,
                                       std::uint32_t position, int lane) {
  constexpr int kOwn = kOwnLists<kLists>;
  std::uint32_t rows[2][kOwn];
#pragma unroll
  for (int j = 0; j < 2; ++j)
#pragma unroll
    for (int v = 0; v < kOwn; ++v) {
      const int place = place_of_lane(lane, j);
      const std::uint32_t column =
          kLists == 0
              ? static_cast<std::uint32_t>(place)
              : mma::listed_column(r.listed[v][j], place, p.columns.quad_bytes, p.columns.group);
      rows[j][v] = at.shared + panel_row(position + column) * 16;
    }
  multiply_half<kPanels, kType, kLists, 0>(sums, r, at, rows[0]);
  multiply_half<kPanels, kType, kLists, 1>(sums, r, at, rows[1]);
}

}  // namespace coppice::cuda::decode
