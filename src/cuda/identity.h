// Which GPU, which driver: what measurements are valid for.
#pragma once

#include <string>

namespace coppice::cuda {

struct GpuIdentity {
  std::string name;  ///< such as "NVIDIA H200"
  std::string
      driver;  ///< such as "580.159.04"; the CUDA version it supports where it cannot be read
};

/// Throws DeviceError if there is no such device.
GpuIdentity gpu_identity(int device);

}  // namespace coppice::cuda
