// What a PackedWeight has to do with tuning.
#pragma once

#include "coppice/cuda_tuner.h"

namespace coppice::cuda {

/// With COPPICE_TUNE=1 in the environment: takes what the cache file knows about the weight.
void tune_from_environment(const PackedWeight& weight);

}  // namespace coppice::cuda
