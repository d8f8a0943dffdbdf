// What a PackedWeight holds.
#pragma once

#include <array>
#include <cstdint>
#include <memory>

#include "coppice/cuda.h"
#include "cuda/check.h"
#include "cuda/element/element_packed.h"
#include "cuda/kernels/arguments.h"
#include "cuda/kernels/pack.h"
#include "cuda/memory_source.h"
#include "cuda/pack_plan.h"
#include "cuda/select.h"
#include "cuda/tuner/tuned_choices.h"

namespace coppice::cuda {

class DenseLibrary;

/// Reads what selection needs; cached for every device.
const DeviceInfo& device_info(int device);

/// The one that CUDA calls of this thread go to.
int current_device();

struct PackedWeight::Impl {
  std::shared_ptr<const Grid> grid;
  Dtype dtype = Dtype::f16;
  int device = 0;
  DeviceInfo device_info;
  ProductInfo product;  ///< the parts that do not depend on a call
  bool permuted = false;
  PackedMemory memory;              ///< as PackedPlaces or ElementPlaces says
  DenseLibrary* library = nullptr;  ///< of Packing::elements; null: it is missing
  /// Packing::elements; all from here to `tuned` is of Packing::records.
  ElementPacked element;
  const std::byte* records = nullptr;
  ColumnLists columns;
  const RowUnit* units = nullptr;
  std::array<const RowTile*, kTileBlocks.size()> tiles = {};
  std::array<std::int32_t, kTileBlocks.size()> tile_counts = {};
  /// Null: untuned. Set before the weight is shared.
  mutable std::shared_ptr<const TunedChoices> tuned;
  PackArguments packing;  ///< all but the canonical arrays; of Packing::records

  /// Plans, takes memory, and uploads the tables in the order of `stream`, unless they are there.
  Impl(std::shared_ptr<const Grid> grid, Dtype dtype, bool permuted, const MemorySource& source,
       Stream stream);
  /// Enqueues the packing.
  void pack(const SparseDeviceView& weight, Stream stream) const;

 private:
  void plan_records(const MemorySource& source, Stream stream);
  void place_arrays(const PackPlan& plan, const MemorySource& source, Stream stream);
  void prepare_packing(const PackPlan& plan, const PackedPlaces& at);
};

}  // namespace coppice::cuda
