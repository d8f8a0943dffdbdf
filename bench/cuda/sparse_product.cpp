#include "bench/cuda/sparse_product.h"

#include <algorithm>
#include <utility>

#include "bench/decode.h"
#include "bench/random_weight.h"
#include "cuda/blocked/blocked_select.h"
#include "cuda/candidates.h"
#include "cuda/multiply.h"
#include "cuda/weight.h"

namespace coppice::bench {
namespace {

std::unique_ptr<DeviceMemory> upload(std::span<const std::byte> host) {
  auto memory = std::make_unique<DeviceMemory>(host.size());
  if (!host.empty())
    check_cuda(cudaMemcpy(memory->data(), host.data(), host.size(), cudaMemcpyHostToDevice),
               "copying a weight");
  return memory;
}

}  // namespace

RotatedWeight::RotatedWeight(const BenchCase& c, std::unique_ptr<RotatedWeight> before) {
  if (before != nullptr) take_over(*before, c);
  before.reset();
  matrix_ = random_weight(c.pattern, c.rows, c.cols, c.dtype, 1, std::move(matrix_.values));
  if (values_ == nullptr) values_ = upload(matrix_.values);
  const auto columns = upload(matrix_.columns), metadata = upload(matrix_.metadata);
  const cuda::SparseDeviceView view{matrix_.grid,    c.dtype,          values_->data(),
                                    columns->data(), metadata->data(), nullptr};
  for (std::int64_t i = 0, n = rotated_copies(matrix_.own_bytes()); i < n; ++i)
    copies_.emplace_back(view, cudaStreamLegacy);
  // What they were packed from is given back, and other streams do not wait for this one.
  check_cuda(cudaStreamSynchronize(cudaStreamLegacy), "packing a weight");
}

void RotatedWeight::take_over(RotatedWeight& before, const BenchCase& c) {
  WeightShape shape;
  shape.rows = c.rows;
  shape.cols = c.cols;
  if (before.matrix_.dtype != c.dtype ||
      std::ssize(before.matrix_.values) != Grid(c.pattern, shape).values_bytes(c.dtype))
    return;
  matrix_.values = std::move(before.matrix_.values);
  values_ = std::move(before.values_);
}

SparseProduct::SparseProduct(const RotatedWeight& weight, const RotatedActivations& activations,
                             const BenchCase& c)
    : weight_(weight),
      activations_(activations),
      copies_(std::min({weight.count(), activations.count(),
                        static_cast<std::size_t>(rotated_copies(traffic(c).total()))})),
      workspace_bytes_(workspace_for(c.tokens)),
      workspace_(static_cast<std::size_t>(workspace_bytes_)) {}

// Of every kernel, not of the chosen one alone.
std::int64_t SparseProduct::workspace_for(std::int64_t tokens) const {
  std::int64_t most = 0;
  for (const cuda::Selection& s : candidates())
    most = std::max(most, cuda::workspace_bytes_of(s, weight_[0], tokens));
  return most;
}

cuda::Selection SparseProduct::chosen() const {
  return cuda::select_for(weight_[0], activations_.input(0));
}

std::vector<cuda::Selection> SparseProduct::candidates() const {
  const cuda::Matrix input = activations_.input(0);
  const auto of = [&](const cuda::MultiplyOptions& options) {
    return cuda::candidates(cuda::product_info(weight_[0], input, options),
                            weight_[0].impl().device_info);
  };
  std::vector<cuda::Selection> all = of({});
  // What has to be asked for.
  if (input.dtype == Dtype::f32)
    for (const cuda::Selection& s : of({.f32_products = cuda::F32Products::tf32}))
      if (cuda::is_tf32(s)) all.push_back(s);
  return all;
}

DeviceCall SparseProduct::call(const cuda::Selection& selection) const {
  return [this, selection](int i, cudaStream_t stream) {
    const std::size_t n = static_cast<std::size_t>(i) % copies_;
    cuda::multiply_by(selection, weight_[n], activations_.input(n), activations_.output(n), {},
                      {workspace_.data(), workspace_bytes_}, stream);
  };
}

double SparseProduct::error(const cuda::Selection& selection, int samples,
                            cudaStream_t stream) const {
  return activations_.error(weight_.matrix(), call(selection), samples, stream);
}

}  // namespace coppice::bench
