#include "cuda/model/gpu.h"

namespace coppice::cuda::model {
namespace {

constexpr NominalRates kH200 = {1.98e9, 4.8e12};

// Dense 16-bit operations of a multiprocessor in a clock, to those of compute capability 9.0.
double tensor_share(int compute_capability) {
  if (compute_capability >= 100 && compute_capability < 120) return 2;
  if (compute_capability == 90) return 1;
  return compute_capability == 80 ? 0.5 : 0.25;
}

}  // namespace

Gpu built_in_gpu() {
  Gpu gpu;
  gpu.name = kBuiltInGpu;
  gpu.source = "built in, measured on an NVIDIA H200";
  gpu.device.multiprocessors = 132;
  gpu.device.compute_capability = 90;
  gpu.device.l2_bytes = std::int64_t{60} << 20;
  gpu.device.shared_bytes = 227 * 1024;
  gpu.device.has_wgmma = true;
  gpu.device.dense_library = true;
  return gpu;
}

Constants guessed_constants(const DeviceInfo& device, const NominalRates& nominal) {
  Constants c;
  const double clock = nominal.clock_hz / kH200.clock_hz;
  const double memory = nominal.memory_bytes / kH200.memory_bytes;
  const double cores = clock * device.multiprocessors / built_in_gpu().device.multiprocessors;
  c.clock_hz *= clock;
  c.memory_bytes *= memory;
  c.l2_bytes *= cores;
  c.tensor_flops *= cores * tensor_share(device.compute_capability);
  c.core_flops *= cores;
  return c;
}

}  // namespace coppice::cuda::model
