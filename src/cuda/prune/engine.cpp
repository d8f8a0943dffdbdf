// UpdateEngine on a GPU: the layer's matrices go to the device once, candidates to and fro.
#include "prune/second_order/engine.h"

#include <algorithm>
#include <mutex>
#include <optional>

#include "coppice/cuda_update.h"
#include "cuda/prune/admm.h"
#include "cuda/prune/kernels.h"
#include "cuda/prune/sweep.h"
#include "cuda/prune/transfer.h"

namespace coppice::cuda {
namespace {

using prune::Candidate;
using prune::UpdateProblem;

constexpr std::int64_t kErrorRows = 2048;  // rows in double precision at a time

class CudaLayer final : public prune::LayerEngine {
 public:
  CudaLayer(const UpdateProblem& problem, const Algebra& algebra, int device, std::mutex& mutex)
      : lock_(mutex),
        guard_(device),
        problem_(problem),
        algebra_(algebra),
        rows_(problem.grid.rows()),
        cols_(problem.grid.cols()),
        gram_(upload(std::span(problem.gram.data, static_cast<std::size_t>(cols_ * cols_)))),
        weights_(upload(problem.weights)) {
    mirror_upper(gram_.as<double>(), cols_);
  }

  Mask magnitude_mask() override;
  std::vector<double> squared_outputs(const float* other) override;
  bool invert_damped(double mean, double damping, std::vector<float>& upper) override;
  std::int64_t sweep(const prune::ObsSweep& sweep, Candidate& candidate) override;

  void prepare_refinement(double damping) override {
    upper_ = DeviceBuffer();
    admm_.emplace(problem_, algebra_, gram_.as<double>(), weights_.as<float>(), damping);
  }
  void refine(const Candidate& from, int steps, Candidate& to) override {
    admm_->refine(from, steps, to);
  }
  bool prepare_search() override { return admm_->decompose(); }
  int search(const AdmmOptions& options, Candidate& to) override {
    return admm_->search(options, to);
  }

 private:
  Mask mask_of(const DeviceBuffer& keep) const;

  std::unique_lock<std::mutex> lock_;  // one layer at a time
  DeviceGuard guard_;
  const UpdateProblem& problem_;
  const Algebra& algebra_;
  std::int64_t rows_, cols_;
  DeviceBuffer gram_, weights_, upper_;
  std::optional<DeviceAdmm> admm_;
};

// Scores count by their magnitude, as in select_mask.
Mask CudaLayer::magnitude_mask() {
  const auto keep = device_array<std::uint8_t>(rows_ * cols_);
  Selector(problem_.grid, problem_.columns, problem_.threads)
      .choose(weights_.as<float>(), nullptr, keep.as<std::uint8_t>());
  return mask_of(keep);
}

Mask CudaLayer::mask_of(const DeviceBuffer& keep) const {
  const auto words = device_array<std::uint64_t>(rows_ * ((cols_ + 63) / 64));
  pack_mask(keep.as<std::uint8_t>(), words.as<std::uint64_t>(), rows_, cols_);
  Mask mask(rows_, cols_);
  download_mask(words.as<std::uint64_t>(), mask);
  return mask;
}

std::vector<double> CudaLayer::squared_outputs(const float* other) {
  const std::int64_t most = std::min(rows_, kErrorRows);
  const auto others = device_array<float>(other != nullptr ? most * cols_ : 0);
  const auto change = device_array<double>(most * cols_);
  const auto product = device_array<double>(most * cols_);
  const auto sums = device_array<double>(rows_);
  for (std::int64_t first = 0; first < rows_; first += most) {
    const std::int64_t rows = std::min(most, rows_ - first), count = rows * cols_;
    if (other != nullptr)
      check(cudaMemcpy(others.data(), other + first * cols_,
                       static_cast<std::size_t>(count) * sizeof(float), cudaMemcpyHostToDevice),
            "copying weights to the device");
    subtract(weights_.as<float>() + first * cols_, others.as<float>(), change.as<double>(), count);
    algebra_.multiply(1.0, {change.as<double>(), rows, cols_, cols_},
                      {gram_.as<double>(), cols_, cols_, cols_}, 0.0,
                      {product.as<double>(), rows, cols_, cols_});
    dot_rows(change.as<double>(), product.as<double>(), sums.as<double>() + first, rows, cols_);
  }
  std::vector<double> result = download(sums.as<double>(), rows_);
  // What rounding makes of zero must not be less.
  for (double& sum : result) sum = sum < 0 ? 0 : sum;
  return result;
}

bool CudaLayer::invert_damped(double mean, double damping, std::vector<float>& upper) {
  const auto h = device_array<double>(cols_ * cols_);
  load_reversed(gram_.as<double>(), mean, damping, h.as<double>(), cols_);
  if (!algebra_.factorise_lower(h.as<double>(), cols_) ||
      !algebra_.invert_lower(h.as<double>(), cols_))
    return false;
  upper_ = device_array<float>(cols_ * cols_);
  const auto bad = upload(std::span<const std::uint32_t>(std::vector<std::uint32_t>(1)));
  store_upper(h.as<double>(), upper_.as<float>(), cols_, bad.as<std::uint32_t>());
  upper = download(upper_.as<float>(), cols_ * cols_);
  return download(bad.as<std::uint32_t>(), 1)[0] == 0;
}

std::int64_t CudaLayer::sweep(const prune::ObsSweep& sweep, Candidate& candidate) {
  const std::int64_t count = rows_ * cols_;
  const auto weights = device_array<float>(count);
  const auto keep = device_array<std::uint8_t>(count);
  check(cudaMemcpy(weights.data(), weights_.data(), weights.bytes(), cudaMemcpyDeviceToDevice),
        "copying weights");
  const std::int64_t unproven = run_sweep(sweep, algebra_, problem_.threads, upper_.as<float>(),
                                          weights.as<float>(), keep.as<std::uint8_t>());
  download(weights.as<float>(), count, candidate.weights.data());
  candidate.mask = mask_of(keep);
  return unproven;
}

int current_device() {
  int device = 0;
  check(cudaGetDevice(&device), "asking for the current device");
  return device;
}

class CudaEngine final : public UpdateEngine {
 public:
  std::unique_ptr<prune::LayerEngine> open(const UpdateProblem& problem) const override {
    return std::make_unique<CudaLayer>(problem, algebra_, device_, mutex_);
  }

 private:
  int device_ = current_device();
  Algebra algebra_;
  mutable std::mutex mutex_;
};

}  // namespace

std::unique_ptr<UpdateEngine> make_update_engine() { return std::make_unique<CudaEngine>(); }

}  // namespace coppice::cuda
