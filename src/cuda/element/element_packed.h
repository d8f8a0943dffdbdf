// What a PackedWeight holds of an element-wise, vector-wise or block-wise weight.
#pragma once

#include "coppice/cuda.h"
#include "cuda/check.h"
#include "cuda/element/fragment_arguments.h"
#include "cuda/memory_source.h"
#include "cuda/select.h"

namespace coppice::cuda {

struct ElementPacked {
  ElementWeight weight;
  ElementSource packing;  ///< all but the canonical arrays
  ElementInfo info;
  WindowInfo window;      ///< what selection has to know of Family::window
  bool overlaps = false;  ///< the device has clusters and programmatic dependent launch

  /// Takes `memory` and uploads the tables in the order of `stream`, unless they are there; the
  /// rest is left to `pack`.
  ElementPacked(const ElementPlan& plan, const ProductInfo& product, const Grid& grid,
                const DeviceInfo& device, const MemorySource& source, PackedMemory& memory,
                Stream stream);
  ElementPacked() = default;

  /// Enqueues the packing.
  void pack(const SparseDeviceView& view, Stream stream) const;
};

}  // namespace coppice::cuda
