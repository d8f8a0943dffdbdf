#include "cuda/same_device.h"

#include <fmt/format.h>

#include "coppice/error.h"
#include "cuda/check.h"

namespace coppice::cuda {
namespace {

[[noreturn]] void refuse(const char* what, int there, const PackedWeight& weight) {
  throw InvalidArgument(fmt::format(
      "{} is on device {}, but the weight of {} x {} is on device {}: copy one of them, "
      "or pack the weight there",
      what, there, weight.rows(), weight.cols(), weight.device()));
}

void check_memory(const void* data, const char* what, const PackedWeight& weight) {
  if (data == nullptr) return;
  cudaPointerAttributes attributes{};
  check(cudaPointerGetAttributes(&attributes, data), "asking where an operand is");
  if (attributes.type == cudaMemoryTypeDevice && attributes.device != weight.device())
    refuse(what, attributes.device, weight);
}

}  // namespace

bool several_devices() {
  static const bool several = [] {
    int count = 0;
    return cudaGetDeviceCount(&count) == cudaSuccess && count > 1;
  }();
  return several;
}

void check_same_device(const PackedWeight& weight, const Matrix& x, const MutableMatrix& y,
                       const Epilogue& epilogue, const Workspace& workspace, Stream stream) {
  check_memory(x.data, "x", weight);
  check_memory(y.data, "y", weight);
  check_memory(epilogue.bias, "the bias", weight);
  check_memory(epilogue.residual, "the residual", weight);
  check_memory(epilogue.factor, "the factor", weight);
  check_memory(workspace.data, "the workspace", weight);
  // A stream that is being captured cannot be asked; its graph's launch fails on another device.
  cudaStreamCaptureStatus capture = cudaStreamCaptureStatusNone;
  if (stream == nullptr) return;
  check(cudaStreamIsCapturing(stream, &capture), "asking for a stream's state");
  if (capture != cudaStreamCaptureStatusNone) return;
  int device = weight.device();
  check(cudaStreamGetDevice(stream, &device), "asking for a stream's device");
  if (device != weight.device()) refuse("the stream", device, weight);
}

}  // namespace coppice::cuda
