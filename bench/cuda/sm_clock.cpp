#include "bench/cuda/sm_clock.h"

#include <cuda_runtime.h>

#include "cuda/runtime_library.h"

namespace coppice::bench {
namespace {

constexpr int kSmClock = 1;  // NVML_CLOCK_SM

}  // namespace

// NVML's header is not part of every toolkit; these three functions have kept their form.
SmClock::SmClock(int device) {
  const cuda::RuntimeLibrary nvml("COPPICE_NVML", {"libnvidia-ml.so.1"});
  int (*init)() = nullptr;
  int (*by_bus)(const char*, void**) = nullptr;
  char bus[32] = {};
  if (!nvml.find(init, "nvmlInit_v2") || !nvml.find(by_bus, "nvmlDeviceGetHandleByPciBusId_v2") ||
      !nvml.find(clock_info_, "nvmlDeviceGetClockInfo") || init() != 0 ||
      cudaDeviceGetPCIBusId(bus, sizeof bus, device) != cudaSuccess || by_bus(bus, &handle_) != 0)
    handle_ = nullptr;
}

unsigned SmClock::read() const {
  unsigned mhz = 0;
  return handle_ != nullptr && clock_info_(handle_, kSmClock, &mhz) == 0 ? mhz : 0;
}

}  // namespace coppice::bench
