// A canonical weight in the order of packed_layout.h, made by the host: the reference that packing
// on the device must match in every byte.
#pragma once

#include <cstddef>
#include <vector>

#include "coppice/sparse_matrix.h"
#include "cuda/pack_plan.h"
#include "cuda/packed_layout.h"

namespace coppice::cuda {

struct HostPack {
  PackPlan plan;
  std::vector<std::byte> records;  // [blocks][steps][kRecordBytes]
  std::vector<std::byte> columns;  // see ColumnLists; empty where all columns are alive in order

  /// The record of a step that holds padded row number `row`.
  const std::byte* record(std::size_t row, std::int64_t step) const {
    return records.data() + (row / kBlockRows * static_cast<std::size_t>(plan.steps) +
                             static_cast<std::size_t>(step)) *
                                kRecordBytes;
  }
};

/// Packs a valid view of f16 or bf16; throws InvalidArgument for others. Padding has value +0 and
/// points at columns that are alive.
HostPack pack_on_host(const SparseView& weight, int threads);

}  // namespace coppice::cuda
