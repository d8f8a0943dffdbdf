// The tuned choices of one weight, as `multiply` looks them up. Pure host code.
#pragma once

#include <cstdint>
#include <vector>

#include "coppice/linear.h"
#include "cuda/select.h"

namespace coppice::cuda {

class TunedChoices {
 public:
  /// Replaces the choice for this number of tokens (its bucket) and layout.
  void set(std::int64_t tokens, Layout layout, const Selection& selection);

  /// The tuned form of a selection for such a product, or the selection itself: where nothing is
  /// known, or the kernel that is known cannot take these activations as they lie.
  Selection apply(const Selection& selection, const ProductInfo& product) const;

 private:
  struct Choice {
    std::int64_t bucket;
    Layout layout;
    Selection selection;
  };
  std::vector<Choice> choices_;
};

}  // namespace coppice::cuda
