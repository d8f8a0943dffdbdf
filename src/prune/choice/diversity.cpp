#include <cmath>

#include "coppice/pattern_choice.h"

namespace coppice {
namespace {

double ln_binomial(int of, int kept) {
  return std::lgamma(of + 1.0) - std::lgamma(kept + 1.0) - std::lgamma(of - kept + 1.0);
}

}  // namespace

double mask_diversity(const Pattern& pattern) {
  double masks = ln_binomial(pattern.group, pattern.kept);
  if (pattern.has_inner())
    masks += pattern.vec_rows * ln_binomial(pattern.kept, pattern.inner_kept);
  return masks / (double{1} * pattern.vec_rows * pattern.block_cols * pattern.group);
}

}  // namespace coppice
