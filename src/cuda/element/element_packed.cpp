#include "cuda/element/element_packed.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "cuda/blocked/blocked_select.h"
#include "cuda/element/fragment_config.h"
#include "cuda/element/gather_lists.h"

namespace coppice::cuda {
namespace {

constexpr int kResident = 2;  // thread blocks of 256 threads on a multiprocessor: registers

// Which products by windows there are: of 16-bit values whose units have one list each.
WindowInfo window_of(const ElementPlan& plan, const DeviceInfo& device) {
  const ElementLayout& l = plan.layout;
  WindowInfo info;
  const bool shared = plan.row_vectors.empty() && l.vec_rows % kUnitRows == 0;
  if (l.in_groups() || l.element_bytes != 2 || !shared || l.pieces == 0) return info;
  for (const ChunkColumns& chunk : plan.chunks)
    info.columns = std::max(info.columns, chunk.last - chunk.first);
  info.pieces = l.pieces;
  info.rows = l.rows;
  info.vectors = kWindowUnits / window_shared_units(l.vec_rows);
  info.boxes = device.has_wgmma && plan.sources == 0 && l.run < kTogether;
  return info;
}

}  // namespace

ElementPacked::ElementPacked(const Grid& grid, Dtype dtype, bool permuted, const DeviceInfo& device,
                             const MemorySource& source, PackedMemory& memory, ProductInfo& product,
                             Stream stream) {
  const ElementPlan plan = plan_element(grid, dtype, permuted);
  overlaps = device.compute_capability >= 90;
  split = split_element(plan, device.multiprocessors, kResident, overlaps);
  fragment_splits = split_fragments(
      plan, {device.multiprocessors, device.shared_bytes, overlaps, device.has_wgmma});
  product.packing = Packing::elements;
  product.fragment_tokens =
      fragment_splits.empty() ? 0 : kFragmentTiles[fragment_splits.size() - 1];
  product.blocked = describe_blocked(plan);
  describe_gathered(plan, product);
  window = product.window = window_of(plan, device);
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
