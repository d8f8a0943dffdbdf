#include "cuda/identity.h"

#include <fmt/format.h>

#include <fstream>

#include "cuda/check.h"

namespace coppice::cuda {
namespace {

// The runtime only tells the CUDA version that the driver supports; kernels of one driver branch
// can differ in speed from those of the next.
std::string driver_version() {
  std::ifstream file("/sys/module/nvidia/version");
  std::string version;
  if (file >> version) return version;
  int cuda = 0;
  check(cudaDriverGetVersion(&cuda), "asking for the driver's version");
  return fmt::format("CUDA {}.{}", cuda / 1000, cuda % 1000 / 10);
}

}  // namespace

GpuIdentity gpu_identity(int device) {
  cudaDeviceProp properties{};
  check(cudaGetDeviceProperties(&properties, device), "asking for the name of a GPU");
  return {properties.name, driver_version()};
}

}  // namespace coppice::cuda
