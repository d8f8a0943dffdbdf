#include "cuda/tuner/tuned_choices.h"

#include <algorithm>

#include "cuda/candidates.h"
#include "cuda/tuner/key.h"

namespace coppice::cuda {

void TunedChoices::set(std::int64_t tokens, Layout layout, const Selection& selection) {
  const std::int64_t bucket = token_bucket(tokens);
  std::erase_if(choices_,
                [&](const Choice& c) { return c.bucket == bucket && c.layout == layout; });
  choices_.push_back({bucket, layout, selection});
}

Selection TunedChoices::apply(const Selection& selection, const ProductInfo& product) const {
  const std::int64_t bucket = token_bucket(product.tokens);
  const Layout layout = product.token_major ? Layout::token_major : Layout::feature_major;
  const auto found = std::ranges::find_if(
      choices_, [&](const Choice& c) { return c.bucket == bucket && c.layout == layout; });
  if (found == choices_.end() || found->selection.token_major != selection.token_major ||
      !same_sums(found->selection, selection))
    return selection;
  // Slices of another tile may be too many thread blocks for these tokens.
  if (selection.slices > 1 && found->selection.shape != selection.shape) return selection;
  Selection tuned = found->selection;
  tuned.transpose = selection.transpose;
  tuned.repack = selection.repack;
  const std::int64_t tile = tile_tokens(tuned);
  const std::int64_t tiles = std::max<std::int64_t>(1, (product.tokens + tile - 1) / tile);
  tuned.token_group = static_cast<int>(std::min<std::int64_t>(tuned.token_group, tiles));
  return tuned;
}

}  // namespace coppice::cuda
