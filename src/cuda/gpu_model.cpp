#include "cuda/gpu_model.h"

#include <memory>
#include <mutex>
#include <vector>

#include "coppice/error.h"
#include "cuda/check.h"
#include "cuda/identity.h"
#include "cuda/model/constants_file.h"

namespace coppice::cuda {
namespace {

model::Gpu find_model(int device, const DeviceInfo& info) {
  const std::string name = gpu_identity(device).name;
  try {
    for (const model::Calibration& c : model::read_calibrations(model::constants_file()))
      if (c.gpu.name == name) return c.gpu;
  } catch (const Error&) {
    // `coppice plan` and `coppice calibrate` say what is wrong with it.
  }
  model::Gpu gpu = model::built_in_gpu();
  if (name == gpu.name) return gpu;
  gpu.name = name;
  gpu.source = "a guess from the driver's numbers; measure them with `coppice calibrate`";
  gpu.device = info;
  gpu.device.dense_library = true;  // opened for weights that can use it, and not before
  gpu.constants = model::guessed_constants(info, nominal_rates(device));
  return gpu;
}

}  // namespace

model::NominalRates nominal_rates(int device) {
  const auto attribute = [&](cudaDeviceAttr which) {
    int value = 0;
    check(cudaDeviceGetAttribute(&value, which, device), "asking for a device attribute");
    return value;
  };
  // Two transfers for a clock.
  return {
      1e3 * attribute(cudaDevAttrClockRate),
      2e3 * attribute(cudaDevAttrMemoryClockRate) * attribute(cudaDevAttrGlobalMemoryBusWidth) / 8};
}

const model::Gpu& gpu_model(int device, const DeviceInfo& info) {
  static std::mutex mutex;
  static std::vector<std::unique_ptr<model::Gpu>> known;
  const std::lock_guard lock(mutex);
  const auto index = static_cast<std::size_t>(device);
  if (known.size() <= index) known.resize(index + 1);
  if (known[index] == nullptr)
    known[index] = std::make_unique<model::Gpu>(find_model(device, info));
  return *known[index];
}

}  // namespace coppice::cuda
