// --device: where products and compression run, and whether there is a GPU at all.
#pragma once

#include <memory>
#include <string>

#include "coppice/update.h"

namespace coppice::cli {

enum class Device { cpu, cuda };

/// GPUs that can be used; 0 in a build without CUDA.
int usable_gpus();

/// What `--device NAME` means here: auto is cuda where there is a GPU. Throws DeviceError if cuda
/// is named and cannot be used.
Device resolve_device(const std::string& name);

/// Where methods that move weights do their linear algebra: null, the CPU, unless the device is a
/// GPU.
std::unique_ptr<UpdateEngine> make_update_engine(Device device);

/// "no (built without CUDA)", "yes, 1 usable GPU".
std::string cuda_text();

}  // namespace coppice::cli
