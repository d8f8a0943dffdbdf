// Which constants of the performance model hold for a device.
#pragma once

#include "cuda/model/gpu.h"

namespace coppice::cuda {

/// Read or guessed once for every device, and kept to the end of the process: those of `coppice
/// calibrate` for a GPU of this name (a file that cannot be read counts as none: products must not
/// fail for it), else those built in on an H200, else a guess from the driver's numbers.
const model::Gpu& gpu_model(int device, const DeviceInfo& info);

/// What the driver says. Throws DeviceError.
model::NominalRates nominal_rates(int device);

}  // namespace coppice::cuda
