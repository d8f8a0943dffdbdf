// A canonical weight in the order of packed_layout.h, made by the host: the reference that packing
// on the device must match in every byte.
#pragma once

#include <cstddef>
#include <vector>

#include "coppice/sparse_matrix.h"
#include "cuda/pack_plan.h"

namespace coppice::cuda {

struct HostPack {
  PackPlan plan;
  std::vector<std::byte> records;  // [blocks][steps][kRecordBytes]
  std::vector<std::byte> columns;  // see ColumnLists; empty where all columns are alive in order
};

/// Packs a valid view of f16 or bf16; throws InvalidArgument for others. Padding has value +0 and
/// points at columns that are alive.
HostPack pack_on_host(const SparseView& weight, int threads);

}  // namespace coppice::cuda
