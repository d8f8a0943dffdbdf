// What a tuned choice is valid for. Pure host code.
#pragma once

#include <cstdint>
#include <string>

#include "coppice/linear.h"
#include "coppice/pattern.h"

namespace coppice::cuda {

/// Numbers of tokens up to the next power of two (and 16) share their choice.
std::int64_t token_bucket(std::int64_t tokens);

/// So do weights whose rows and columns are the same multiples of 256, rounded up.
std::int64_t size_bucket(std::int64_t size);

struct TuneKey {
  std::string gpu, driver, version;  // of this library
  Pattern pattern;
  Dtype dtype = Dtype::f16;
  std::int64_t rows = 0, cols = 0, tokens = 0;
  Layout layout = Layout::feature_major;  // of the activations

  /// With buckets in place of sizes; what the cache file holds. Two keys that differ in anything
  /// that matters have different texts.
  std::string text() const;
};

}  // namespace coppice::cuda
