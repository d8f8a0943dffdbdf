// What a PackedWeight holds.
#pragma once

#include <array>
#include <cstdint>
#include <memory>

#include "coppice/cuda.h"
#include "cuda/check.h"
#include "cuda/kernels/arguments.h"
#include "cuda/select.h"

namespace coppice::cuda {

/// Reads what selection needs; cached for every device.
const DeviceInfo& device_info(int device);

struct PackedWeight::Impl {
  std::shared_ptr<const Grid> grid;
  Dtype dtype = Dtype::f16;
  int device = 0;
  DeviceInfo device_info;
  ProductInfo product;  ///< the parts that do not depend on a call
  DeviceBuffer memory;  ///< records, columns, units, tiles, each on 256 bytes
  const std::byte* records = nullptr;
  ColumnLists columns;
  const RowUnit* units = nullptr;
  std::array<const RowTile*, kTileBlocks.size()> tiles = {};
  std::array<std::int32_t, kTileBlocks.size()> tile_counts = {};
};

}  // namespace coppice::cuda
