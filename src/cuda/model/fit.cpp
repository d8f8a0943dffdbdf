#include "cuda/model/fit.h"

#include <algorithm>
#include <cmath>

namespace coppice::cuda::model {
namespace {

// Squared, and linear where it is large: few wild samples must not rule.
double bent(double off) {
  constexpr double kSquare = 0.262;  // ln 1.3
  const double size = std::abs(off);
  return size < kSquare ? size * size : kSquare * (2 * size - kSquare);
}

}  // namespace

double fit_loss(const Constants& constants, std::span<const FitSample> samples) {
  constexpr double kNear = 1.5, kOrder = 1.2;  // weight of the order among the kernels of a product
  double sum = 0;
  std::vector<double> off;
  for (const FitSample& sample : samples) {
    off.push_back(std::log(sample.predicted(constants) / sample.seconds));
    sum += bent(off.back());
  }
  for (std::size_t begin = 0, end = 0; begin < samples.size(); begin = end) {
    std::size_t best = begin;
    for (end = begin; end < samples.size() && samples[end].product == samples[begin].product; ++end)
      if (samples[end].seconds < samples[best].seconds) best = end;
    if (samples[begin].product < 0) continue;
    for (std::size_t i = begin; i < end; ++i)
      if (samples[i].seconds <= kNear * samples[best].seconds)
        sum += kOrder * bent(off[i] - off[best]);
  }
  return samples.empty() ? 0 : sum / static_cast<double>(samples.size());
}

void fit_constants(Constants& constants, std::span<const std::string> names,
                   std::span<const FitSample> samples, double reach) {
  struct Free {
    double* value;
    double begin, step;
  };
  std::vector<Free> free;
  for_each_constant(constants, [&](const char* name, double& value) {
    if (std::ranges::find(names, name) != names.end()) free.push_back({&value, value, 1.25});
  });
  constexpr int kPasses = 150;
  constexpr double kFinest = 1.004;
  double least = fit_loss(constants, samples);
  for (int pass = 0; pass < kPasses; ++pass) {
    bool moved = false;
    for (Free& f : free) {
      const double now = *f.value;
      bool better = false;
      for (const double tried : {now * f.step, now / f.step}) {
        if (tried > f.begin * reach || tried < f.begin / reach) continue;
        *f.value = tried;
        if (const double loss = fit_loss(constants, samples); loss < least) {
          least = loss;
          better = true;
          break;
        }
        *f.value = now;
      }
      f.step = better ? std::min(2.0, std::pow(f.step, 1.5)) : std::max(kFinest, std::sqrt(f.step));
      moved = moved || better || f.step > kFinest;
    }
    if (!moved) return;
  }
}

}  // namespace coppice::cuda::model
