// Constants from measured times.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "cuda/model/constants.h"

namespace coppice::cuda::model {

/// A measured time, and what the model says of the same product.
struct FitSample {
  double seconds = 0;
  std::function<double(const Constants&)> predicted;
  int product = -1;  ///< samples of one product follow each other; -1: of none
};

/// Changes the constants of these names, and no others, so that the predictions come near to the
/// times: the mean of log ratios, squared, beyond a factor of 1.3 linear, is as small as steps of
/// one constant at a time make it. Which kernel of a product is fastest counts as well: so does the
/// log ratio beside that of the fastest one, for those that take up to 1.5 times as long. Stays
/// within a factor of `reach` of where it began. The same samples give the same constants.
void fit_constants(Constants& constants, std::span<const std::string> names,
                   std::span<const FitSample> samples, double reach = 12);

/// The mean that it makes small.
double fit_loss(const Constants& constants, std::span<const FitSample> samples);

}  // namespace coppice::cuda::model
