#include "cuda/check.h"

#include <fmt/format.h>

#include "coppice/cuda.h"
#include "coppice/error.h"

namespace coppice::cuda {

void check(cudaError_t result, std::string_view doing) {
  if (result == cudaSuccess) return;
  cudaGetLastError();  // so that the next call does not report it again
  throw DeviceError(fmt::format("{}: {}", doing, cudaGetErrorString(result)));
}

DeviceGuard::DeviceGuard(int device) {
  int current = 0;
  check(cudaGetDevice(&current), "asking for the current device");
  if (current == device) return;
  check(cudaSetDevice(device), "changing the current device");
  former_ = current;
}

DeviceGuard::~DeviceGuard() {
  if (former_ >= 0) cudaSetDevice(former_);
}

DeviceBuffer::DeviceBuffer(std::size_t bytes) : bytes_(bytes) {
  if (bytes > 0) check(cudaMalloc(&data_, bytes), fmt::format("allocating {} bytes", bytes));
}

DeviceBuffer::~DeviceBuffer() {
  if (data_ != nullptr) cudaFree(data_);
}

int device_count() {
  int count = 0;
  if (cudaGetDeviceCount(&count) != cudaSuccess) {
    cudaGetLastError();
    return 0;
  }
  int usable = 0;
  for (int device = 0; device < count; ++device) {
    int major = 0;
    if (cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device) == cudaSuccess)
      usable += major >= 8;
  }
  return usable;
}

}  // namespace coppice::cuda
