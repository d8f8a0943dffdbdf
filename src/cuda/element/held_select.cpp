#include "cuda/element/held_select.h"

#include "cuda/element/held_config.h"
#include "cuda/model/model.h"

namespace coppice::cuda {

bool is_held(const Selection& selection) {
  return selection.family == Family::fragments && selection.shape == kHeldShape;
}

std::vector<Selection> held_selections(const ProductInfo& p, const DeviceInfo& device) {
  std::vector<Selection> all;
  if (!device.has_wgmma || p.packing != Packing::elements || p.batch_invariant || p.tokens == 0 ||
      !takes_held(p.element.layout, p.element.fragment_form))
    return all;
  for (const int tokens : kHeldTiles) {
    const HeldConfig config = held_config(p.element.fragment_form, tokens);
    const ElementSplit split =
        split_held(config, p.element.layout, device.multiprocessors, device.shared_bytes);
    if (held_stages(config, split) == 0) return {};
    Selection selection;
    selection.family = Family::fragments;
    selection.shape = kHeldShape;
    selection.tile_tokens = tokens;
    all.push_back(selection);
  }
  return all;
}

// Of token-major activations on 16 bytes: others come in small loads, which takes 5 us and more.
Selection faster_held(const Selection& other, const ProductInfo& p, const DeviceInfo& device) {
  const bool few = p.tokens > 1 && p.tokens <= kHeldTiles.back() && p.token_major && p.aligned;
  if (!few || (other.family != Family::lookup && other.family != Family::fragments)) return other;
  constexpr double kSure = 0.96;
  for (const Selection& held : held_selections(p, device))
    if (held.tile_tokens >= p.tokens)
      return model::predict(held, p, device).seconds <
                     kSure * model::predict(other, p, device).seconds
                 ? held
                 : other;
  return other;
}

}  // namespace coppice::cuda
