#include "cuda/element/element_packed.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "cuda/element/fragment_config.h"

namespace coppice::cuda {

ElementPacked::ElementPacked(const ElementPlan& plan, const ProductInfo& product, const Grid& grid,
                             const DeviceInfo& device, const MemorySource& source,
                             PackedMemory& memory, Stream stream)
    : info(product.element), window(product.window), overlaps(device.compute_capability >= 90) {
  const ElementPlaces at = plan.places();
  memory = source.take(at.bytes);
  auto* base = memory.as<std::byte>();
  weight.layout = plan.layout;
  weight.values = base + at.values;
  weight.choices = base + at.choices;
  weight.chunk_count = static_cast<std::int32_t>(plan.chunks.size());
  weight.source_count = plan.sources;
  weight.staged = plan.staged;
  // The tables lie between the big arrays and the sources.
  std::vector<std::byte> tables(static_cast<std::size_t>(at.sources - at.chunks));
  const auto place = [&]<typename T>(std::int64_t offset, const std::vector<T>& data) -> const T* {
    if (data.empty()) return nullptr;
    std::memcpy(tables.data() + (offset - at.chunks), data.data(), data.size() * sizeof(T));
    return reinterpret_cast<const T*>(base + offset);
  };
  weight.chunks = place(at.chunks, plan.chunks);
  weight.groups = place(at.groups, plan.groups);
  weight.row_vectors = place(at.vectors, plan.row_vectors);
  if (plan.sources > 0) weight.sources = reinterpret_cast<std::int32_t*>(base + at.sources);
  if (!tables.empty() && source.packed == nullptr)
    check(cudaMemcpyAsync(base + at.chunks, tables.data(), tables.size(), cudaMemcpyHostToDevice,
                          stream),
          "copying the tables of a weight to the device");
  packing.kept = grid.kept();
  packing.column_bytes = grid.column_bytes_per_vector();
  packing.groups = weight.groups;
  packing.layout = plan.layout;
}

void ElementPacked::pack(const SparseDeviceView& view, Stream stream) const {
  ElementSource source = packing;
  source.values = view.values;
  source.columns = static_cast<const std::uint8_t*>(view.columns);
  source.permutation = view.input_permutation;
  launch_element_pack(weight, source, stream);
}

}  // namespace coppice::cuda
