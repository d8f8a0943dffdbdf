#include "gpu_product.h"

#include "coppice/cuda.h"
#include "cuda/check.h"

namespace coppice::cli {

GpuProduct::GpuProduct(const SparseView& weight)
    : weight_(std::make_unique<cuda::PackedWeight>(weight)) {}
GpuProduct::~GpuProduct() = default;

std::vector<float> GpuProduct::multiply(std::span<const float> x, std::int64_t tokens,
                                        Layout layout) const {
  const std::int64_t rows = weight_->rows(), cols = weight_->cols();
  std::vector<std::byte> halves(x.size() * 2);
  from_float(weight_->dtype(), x, halves.data());
  std::vector<float> y(static_cast<std::size_t>(tokens * rows));
  const cuda::DeviceBuffer x_device(halves.size()), y_device(y.size() * sizeof(float));
  cuda::check(cudaMemcpy(x_device.data(), halves.data(), halves.size(), cudaMemcpyHostToDevice),
              "copying activations to the device");
  cuda::check(cudaMemset(y_device.data(), 0xFF, y_device.bytes()), "poisoning an output");
  const cuda::Matrix in{x_device.data(), weight_->dtype(), tokens, cols, layout, 0};
  const cuda::MutableMatrix out{y_device.data(), Dtype::f32, tokens, rows, layout, 0};
  const cuda::DeviceBuffer workspace(static_cast<std::size_t>(cuda::workspace_bytes(*weight_, in)));
  cuda::multiply(*weight_, in, out, {},
                 {workspace.data(), static_cast<std::int64_t>(workspace.bytes())});
  cuda::check(cudaMemcpy(y.data(), y_device.data(), y_device.bytes(), cudaMemcpyDeviceToHost),
              "multiplying on the device");
  return y;
}

std::string GpuProduct::kernel(std::int64_t tokens, Layout layout) const {
  return cuda::kernel_name(*weight_, tokens, layout);
}

}  // namespace coppice::cli
