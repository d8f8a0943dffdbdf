#include "device.h"

#include <fmt/format.h>

#include "coppice/cuda.h"
#include "coppice/cuda_update.h"
#include "coppice/error.h"

namespace coppice::cli {

#if COPPICE_HAS_CUDA
constexpr bool kHasCuda = true;
int usable_gpus() { return cuda::device_count(); }
std::unique_ptr<UpdateEngine> make_update_engine(Device device) {
  return device == Device::cuda ? cuda::make_update_engine() : nullptr;
}
#else
constexpr bool kHasCuda = false;
int usable_gpus() { return 0; }
std::unique_ptr<UpdateEngine> make_update_engine(Device) { return nullptr; }
#endif

Device resolve_device(const std::string& name) {
  if (name == "cpu") return Device::cpu;
  const bool usable = usable_gpus() > 0;
  if (name == "cuda" && !kHasCuda)
    throw DeviceError(
        "--device cuda: this coppice was built without CUDA; build it with -DCOPPICE_CUDA=ON, or "
        "use --device cpu");
  if (name == "cuda" && !usable)
    throw DeviceError(
        "--device cuda: there is no usable NVIDIA GPU (it needs a driver and compute capability "
        "8.0 or later); use --device cpu");
  return usable ? Device::cuda : Device::cpu;
}

std::string cuda_text() {
  if (!kHasCuda) return "no";
  const int gpus = usable_gpus();
  return gpus == 0 ? "yes, but no usable GPU" : fmt::format("yes, {} usable GPU(s)", gpus);
}

}  // namespace coppice::cli
