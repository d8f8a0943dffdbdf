#include "cuda/weight.h"

#include <fmt/format.h>

#include <cstring>
#include <mutex>
#include <span>
#include <vector>

#include "coppice/error.h"
#include "cuda/describe.h"
#include "cuda/gpu_model.h"
#include "cuda/pack_plan.h"
#include "cuda/tuner/tune.h"
#include "cuda/unpack/dense_library.h"

namespace coppice::cuda {
namespace {

DeviceInfo read_device_info(int device) {
  auto attribute = [&](cudaDeviceAttr which) {
    int value = 0;
    check(cudaDeviceGetAttribute(&value, which, device), "asking for a device attribute");
    return value;
  };
  DeviceInfo info;
  info.multiprocessors = attribute(cudaDevAttrMultiProcessorCount);
  info.compute_capability = 10 * attribute(cudaDevAttrComputeCapabilityMajor) +
                            attribute(cudaDevAttrComputeCapabilityMinor);
  info.l2_bytes = attribute(cudaDevAttrL2CacheSize);
  info.shared_bytes = attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin);
  info.has_wgmma = COPPICE_CUDA_WGMMA != 0 && info.compute_capability == 90;
  info.constants = &gpu_model(device, info).constants;
  return info;
}

void check_usable(int device, const DeviceInfo& info) {
  if (info.compute_capability >= 80) return;
  throw DeviceError(
      fmt::format("device {} has compute capability {}.{}; sparse tensor cores need 8.0 or later: "
                  "use another device or the CPU",
                  device, info.compute_capability / 10, info.compute_capability % 10));
}

// What does not depend on the place of the arrays.
void check_weight(const SparseDeviceView& weight) {
  if (weight.grid == nullptr) throw InvalidArgument("a weight without a grid");
  const bool halves = weight.dtype == Dtype::f16 || weight.dtype == Dtype::bf16;
  const Pattern& pattern = weight.grid->pattern();
  if (is_element_pattern(pattern)) {
    if (!halves && weight.dtype != Dtype::f32)
      throw InvalidArgument(fmt::format(
          "a weight of {}: the CUDA backend multiplies by F16, BF16 and F32; convert it first",
          dtype_name(weight.dtype)));
  } else if (!halves) {
    throw InvalidArgument(fmt::format(
        "a weight of {} in {}: the CUDA backend multiplies by F16 and BF16 in this pattern; "
        "convert it first",
        dtype_name(weight.dtype), pattern.to_string()));
  }
}

void check_arrays(const SparseDeviceView& weight) {
  const Grid& grid = *weight.grid;
  if ((weight.values == nullptr && grid.values_bytes(weight.dtype) > 0) ||
      (weight.columns == nullptr && grid.columns_bytes() > 0) ||
      (weight.metadata == nullptr && grid.metadata_bytes() > 0))
    throw InvalidArgument(fmt::format("a weight of {} x {} in {} with a null pointer", grid.rows(),
                                      grid.cols(), grid.pattern().to_string()));
  const int bytes = dtype_bytes(weight.dtype);
  if (reinterpret_cast<std::uintptr_t>(weight.values) % static_cast<unsigned>(bytes) != 0)
    throw InvalidArgument(
        fmt::format("values of {} bits need to start on {} bytes", 8 * bytes, bytes));
}

template <typename T>
DeviceBuffer upload(std::span<const T> host) {
  DeviceBuffer buffer(host.size_bytes());
  if (!host.empty())
    check(cudaMemcpyAsync(buffer.data(), host.data(), host.size_bytes(), cudaMemcpyHostToDevice,
                          cudaStreamLegacy),
          "copying a weight to the device");
  return buffer;
}

}  // namespace

const DeviceInfo& device_info(int device) {
  static std::mutex mutex;
  static std::vector<std::unique_ptr<DeviceInfo>> known;
  const std::lock_guard lock(mutex);
  const auto index = static_cast<std::size_t>(device);
  if (known.size() <= index) known.resize(index + 1);
  if (known[index] == nullptr)
    known[index] = std::make_unique<DeviceInfo>(read_device_info(device));
  return *known[index];
}

int current_device() {
  int device = 0;
  check(cudaGetDevice(&device), "asking for the current device");
  return device;
}

PackedWeight::Impl::Impl(std::shared_ptr<const Grid> g, Dtype type, bool has_permutation,
                         const MemorySource& source, Stream stream)
    : grid(std::move(g)), dtype(type), permuted(has_permutation) {
  device = current_device();
  device_info = cuda::device_info(device);
  check_usable(device, device_info);
  if (is_element_pattern(grid->pattern())) {
    library = DenseLibrary::of_current_device();
    device_info.dense_library = library != nullptr;
    const ElementPlan plan = plan_element(*grid, dtype, permuted);
    product = describe(plan, *grid, device_info);
    element = ElementPacked(plan, product, *grid, device_info, source, memory, stream);
  } else {
    plan_records(source, stream);
  }
}

void PackedWeight::Impl::plan_records(const MemorySource& source, Stream stream) {
  const PackPlan plan = plan_pack(*grid, permuted);
  product = describe(plan, *grid);
  place_arrays(plan, source, stream);
}

// Records and columns are left to `pack`; the tables are made here.
void PackedWeight::Impl::place_arrays(const PackPlan& plan, const MemorySource& source,
                                      Stream stream) {
  const PackedPlaces at = plan.places();
  memory = source.take(at.bytes);
  auto* base = memory.as<std::byte>();
  records = base + at.records;
  columns = {plan.lists == 0 ? nullptr : base + at.columns, plan.quad_bytes, product.group};
  units = reinterpret_cast<const RowUnit*>(base + at.units);
  std::vector<std::byte> tables(static_cast<std::size_t>(at.bytes - at.units));
  auto place = [&]<typename T>(std::int64_t offset, const std::vector<T>& data) {
    if (!data.empty())
      std::memcpy(tables.data() + (offset - at.units), data.data(), data.size() * sizeof(T));
  };
  place(at.units, plan.units);
  for (std::size_t i = 0; i < plan.tiles.size(); ++i) {
    place(at.tiles[i], plan.tiles[i]);
    tiles[i] = reinterpret_cast<const RowTile*>(base + at.tiles[i]);
    tile_counts[i] = static_cast<std::int32_t>(plan.tiles[i].size());
  }
  place(at.quads, plan.quads);
  prepare_packing(plan, at);
  if (!tables.empty() && source.packed == nullptr)
    check(cudaMemcpyAsync(base + at.units, tables.data(), tables.size(), cudaMemcpyHostToDevice,
                          stream),
          "copying the tables of a weight to the device");
}

void PackedWeight::Impl::prepare_packing(const PackPlan& plan, const PackedPlaces& at) {
  auto* base = memory.as<std::byte>();
  PackArguments& p = packing;
  p.kept = grid->kept();
  p.metadata_bytes = grid->metadata_bytes_per_row();
  p.column_bytes = grid->column_bytes_per_vector();
  p.column_code = grid->column_code();
  p.has_columns = grid->has_columns();
  if (!plan.quads.empty()) p.quads = reinterpret_cast<const QuadPlace*>(base + at.quads);
  p.quad_count = static_cast<std::int32_t>(grid->groups().size());
  p.group = product.group;
  p.cols = static_cast<std::int32_t>(grid->cols());
  p.units = units;
  p.records = base + at.records;
  p.lists = base + at.columns;
  p.blocks = plan.blocks;
  p.steps = plan.steps;
  p.list_count = plan.lists;
  p.quad_bytes = plan.quad_bytes;
}

void PackedWeight::Impl::pack(const SparseDeviceView& weight, Stream stream) const {
  if (product.packing == Packing::elements) return element.pack(weight, stream);
  PackArguments p = packing;
  p.values = weight.values;
  p.columns = static_cast<const std::uint8_t*>(weight.columns);
  p.metadata = static_cast<const std::uint8_t*>(weight.metadata);
  p.permutation = weight.input_permutation;
  p.wide = p.quads == nullptr && p.kept % 8 == 0 && p.metadata_bytes % 2 == 0 &&
           reinterpret_cast<std::uintptr_t>(p.values) % 16 == 0 &&
           reinterpret_cast<std::uintptr_t>(p.metadata) % 2 == 0;
  launch_pack(p, stream);
}

PackedWeight::PackedWeight(const SparseView& weight) {
  SparseDeviceView view{weight.grid, weight.dtype, nullptr, nullptr, nullptr, nullptr};
  check_weight(view);
  const DeviceBuffer values = upload(weight.values), columns = upload(weight.columns),
                     metadata = upload(weight.metadata),
                     permutation = upload(weight.input_permutation);
  view.values = values.data();
  view.columns = columns.data();
  view.metadata = metadata.data();
  view.input_permutation = permutation.as<const std::uint32_t>();
  auto impl = std::make_unique<const Impl>(view.grid, view.dtype, !weight.input_permutation.empty(),
                                           MemorySource{}, cudaStreamLegacy);
  impl->pack(view, cudaStreamLegacy);
  // Other streams may not wait for this one, and the arrays are given back.
  check(cudaStreamSynchronize(cudaStreamLegacy), "packing a weight");
  impl_ = std::move(impl);
  tune_from_environment(*this);
}

PackedWeight::PackedWeight(const SparseDeviceView& weight, Stream stream,
                           const Allocator& allocate) {
  check_weight(weight);
  check_arrays(weight);
  auto impl =
      std::make_unique<const Impl>(weight.grid, weight.dtype, weight.input_permutation != nullptr,
                                   MemorySource{.allocate = allocate}, stream);
  impl->pack(weight, stream);
  impl_ = std::move(impl);
  tune_from_environment(*this);
}

PackedWeight::PackedWeight(std::unique_ptr<const Impl> impl) : impl_(std::move(impl)) {
  tune_from_environment(*this);
}

PackedWeight PackedWeight::over(std::shared_ptr<const Grid> grid, Dtype dtype, bool permuted,
                                void* memory) {
  check_weight({grid, dtype});
  if (memory == nullptr) throw InvalidArgument("a packed weight over no memory");
  return PackedWeight(std::make_unique<const Impl>(std::move(grid), dtype, permuted,
                                                   MemorySource{.packed = memory}, nullptr));
}

void PackedWeight::repack(const SparseDeviceView& weight, Stream stream) {
  check_weight(weight);
  check_arrays(weight);
  const Grid& grid = *impl_->grid;
  if (weight.grid->pattern() != grid.pattern() || weight.grid->shape() != grid.shape() ||
      weight.dtype != impl_->dtype)
    throw InvalidArgument(
        fmt::format("repack of a {} x {} weight in {} with one of {} x {} in {}: pattern, shape, "
                    "segments and "
                    "dtype must be the same; make a new PackedWeight",
                    grid.rows(), grid.cols(), grid.pattern().to_string(), weight.grid->rows(),
                    weight.grid->cols(), weight.grid->pattern().to_string()));
  if ((weight.input_permutation != nullptr) != impl_->permuted)
    throw InvalidArgument(fmt::format("repack of a weight {} input permutation with one {}",
                                      impl_->permuted ? "with an" : "without",
                                      impl_->permuted ? "without" : "with one"));
  const DeviceGuard guard(impl_->device);
  impl_->pack(weight, stream);
}

PackedWeight::PackedWeight(PackedWeight&&) noexcept = default;
PackedWeight& PackedWeight::operator=(PackedWeight&&) noexcept = default;
PackedWeight::~PackedWeight() = default;

std::int64_t PackedWeight::rows() const { return impl_->grid->rows(); }
std::int64_t PackedWeight::cols() const { return impl_->grid->cols(); }
const Pattern& PackedWeight::pattern() const { return impl_->grid->pattern(); }
Dtype PackedWeight::dtype() const { return impl_->dtype; }
int PackedWeight::device() const { return impl_->device; }
std::int64_t PackedWeight::bytes() const {
  return static_cast<std::int64_t>(impl_->memory.bytes());
}

}  // namespace coppice::cuda
