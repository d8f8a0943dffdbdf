// A GPU as the performance model knows it: what its driver says, and the constants that hold for
// it. Pure host code.
#pragma once

#include <string>

#include "cuda/model/constants.h"
#include "cuda/select.h"

namespace coppice::cuda::model {

struct Gpu {
  std::string name;    ///< as the driver has it: "NVIDIA H200"
  std::string source;  ///< where the constants come from, for people
  DeviceInfo device;   ///< without a pointer to the constants
  Constants constants;

  /// The device with these constants; the Gpu must outlive it.
  DeviceInfo info() const {
    DeviceInfo with = device;
    with.constants = &constants;
    return with;
  }
};

inline constexpr const char* kBuiltInGpu = "NVIDIA H200";

/// The H200 that the built-in constants were measured on.
Gpu built_in_gpu();

/// What a driver says about a GPU's rates.
struct NominalRates {
  double clock_hz = 0;      ///< the highest of the multiprocessors
  double memory_bytes = 0;  ///< per second
};

/// A guess for a GPU that nothing was measured on: the built-in constants, with memory's rates by
/// its nominal one, those of L2 and of whole products by multiprocessors, clock and the tensor
/// instructions of the compute capability, and times of launches as they are.
Constants guessed_constants(const DeviceInfo& device, const NominalRates& nominal);

}  // namespace coppice::cuda::model
