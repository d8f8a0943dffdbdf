#include "bench/cuda/operands.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace coppice::bench {

RotatedWeight& Operands::weight(const BenchCase& c) {
  const auto found =
      std::ranges::find_if(weights_, [&](const auto& weight) { return weight->fits(c); });
  if (found != weights_.end()) return **found;
  cusparse_.reset();
  no_cusparse_.clear();
  std::unique_ptr<RotatedWeight> before;
  if (grid_ && !weights_.empty()) before = std::move(weights_.back());
  const bool other =
      !weights_.empty() && !grid_ &&
      (weights_[0]->matrix().rows() != c.rows || weights_[0]->matrix().cols() != c.cols);
  if (grid_ || other) weights_.clear();
  weights_.push_back(std::make_unique<RotatedWeight>(c, std::move(before)));
  return *weights_.back();
}

const RotatedActivations& Operands::activations(const BenchCase& c) {
  const auto found =
      std::ranges::find_if(activations_, [&](const auto& operands) { return operands->fits(c); });
  if (found != activations_.end()) return **found;
  if (!grid_ || (!activations_.empty() && !activations_[0]->same_weight(c))) activations_.clear();
  activations_.push_back(std::make_unique<RotatedActivations>(c));
  return *activations_.back();
}

CusparseTime Operands::cusparse_time(const BenchCase& c, cudaStream_t stream) {
  CusparseFormat format{};
  if (!cusparse_format(c, &format)) return {};
  if (cusparse_ == nullptr && no_cusparse_.empty()) {
    cusparse_ = make_cusparse(weight(c), format, &no_cusparse_);
    if (cusparse_ == nullptr) note_(fmt::format("no cuSPARSE: {}", no_cusparse_));
  }
  if (cusparse_ != nullptr) return cusparse_->time(activations(c), c, stream);
  CusparseTime none;
  none.name = "none: " + no_cusparse_;
  return none;
}

}  // namespace coppice::bench
