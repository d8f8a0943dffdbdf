#include "cuda/weight.h"

#include <fmt/format.h>

#include <cstring>
#include <mutex>
#include <vector>

#include "coppice/error.h"
#include "cuda/host_pack.h"

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
  return info;
}

DeviceBuffer upload(const std::vector<std::byte>& bytes) {
  DeviceBuffer buffer(bytes.size());
  if (!bytes.empty())
    check(cudaMemcpy(buffer.data(), bytes.data(), bytes.size(), cudaMemcpyHostToDevice),
          "copying a weight to the device");
  // From pageable memory the copy may still be under way, and other streams do not wait for it.
  check(cudaStreamSynchronize(cudaStreamLegacy), "copying a weight to the device");
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

PackedWeight::PackedWeight(const SparseView& weight, int threads) {
  const HostPack pack = pack_on_host(weight, threads);
  auto impl = std::make_unique<Impl>();
  impl->grid = weight.grid;
  impl->dtype = weight.dtype;
  check(cudaGetDevice(&impl->device), "asking for the current device");
  impl->device_info = cuda::device_info(impl->device);
  if (impl->device_info.compute_capability < 80)
    throw DeviceError(
        fmt::format("device {} has compute capability {}.{}; sparse tensor cores "
                    "need 8.0 or later: use another device or the CPU",
                    impl->device, impl->device_info.compute_capability / 10,
                    impl->device_info.compute_capability % 10));
  const PackPlan& plan = pack.plan;
  ProductInfo& product = impl->product;
  product.in_order = plan.in_order;
  product.vector_blocks = plan.vector_blocks;
  product.block_vectors = plan.block_vectors;
  product.regular = plan.regular;
  product.group = weight.grid->pattern().group;
  product.blocks = plan.blocks;
  product.steps = plan.steps;
  product.cols = weight.grid->cols();

  const PackedPlaces at = plan.places();
  std::vector<std::byte> bytes(static_cast<std::size_t>(at.bytes));
  auto place = [&bytes]<typename T>(std::int64_t offset, const std::vector<T>& data) {
    if (!data.empty()) std::memcpy(bytes.data() + offset, data.data(), data.size() * sizeof(T));
  };
  place(at.records, pack.records);
  place(at.columns, pack.columns);
  place(at.units, plan.units);
  for (std::size_t i = 0; i < plan.tiles.size(); ++i) place(at.tiles[i], plan.tiles[i]);
  impl->memory = upload(bytes);
  const auto* base = impl->memory.as<const std::byte>();
  impl->records = base + at.records;
  impl->columns = {plan.lists == 0 ? nullptr : base + at.columns, plan.quad_bytes, product.group};
  impl->units = reinterpret_cast<const RowUnit*>(base + at.units);
  for (std::size_t i = 0; i < plan.tiles.size(); ++i) {
    impl->tiles[i] = reinterpret_cast<const RowTile*>(base + at.tiles[i]);
    impl->tile_counts[i] = static_cast<std::int32_t>(plan.tiles[i].size());
  }
  impl_ = std::move(impl);
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
