// What the sparse products of one shape are compared with: dense ones, whose weights are shared by
// all numbers of tokens.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "bench/bench.h"
#include "bench/cuda/dense.h"
#include "bench/cuda/protocol.h"

namespace coppice::bench {

/// The dense products of one shape, dtype and number of tokens.
struct DenseBaseline {
  BenchCase shape;
  std::unique_ptr<DenseProduct> product;   ///< the fastest of the libraries; null if there is none
  std::unique_ptr<ReplayedCall> replayed;  ///< of that
  std::string why_not;
  double fp8_seconds = 0;       ///< 0: not measured
  std::int64_t fp8_tokens = 0;  ///< with which it ran: more where the library refuses so few
  double gemv_seconds = 0;      ///< our own kernel (gemv.h); 0 where it takes no such product
};

class DenseBaselines {
 public:
  /// `note` is told what is missing. `alone`: only the libraries' products in the same type are
  /// timed, for `seconds` a replay.
  DenseBaselines(cudaStream_t stream, std::function<void(const std::string&)> note,
                 bool alone = false, double seconds = kReplaySeconds)
      : stream_(stream), note_(std::move(note)), alone_(alone), seconds_(seconds) {}

  /// Keeps what it made until a case of another shape comes.
  const DenseBaseline& of(const BenchCase& c);

 private:
  const DenseWeights& weights(Dtype dtype);
  void time_library(DenseBaseline& baseline, const DenseProblem& problem);
  void time_fp8(DenseBaseline& baseline, DenseProblem problem);
  void time_gemv(DenseBaseline& baseline, const DenseProblem& problem);
  double time(const DeviceCall& call) const;

  struct Weights {
    Dtype dtype;
    std::unique_ptr<DenseWeights> weights;
  };
  cudaStream_t stream_;
  std::function<void(const std::string&)> note_;
  bool alone_;
  double seconds_;
  std::int64_t rows_ = 0, cols_ = 0;
  std::vector<Weights> weights_;
  std::vector<std::unique_ptr<DenseBaseline>> known_;
};

}  // namespace coppice::bench
