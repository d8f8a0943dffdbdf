#include "cuda/select.h"

#include <algorithm>
#include <tuple>

#include "cuda/blocked/blocked_select.h"
#include "cuda/decode_select.h"
#include "cuda/element/held_select.h"
#include "cuda/model/model.h"
#include "cuda/window/ring_layout.h"

namespace coppice::cuda {
namespace {

double predicted_seconds(Family family, const ProductInfo& p, const DeviceInfo& device) {
  return model::predict(select_of(family, p, device), p, device).seconds;
}

// Whether gathered products are the choice for a weight that has them. Their sums do not depend on
// the tile, so that batch-invariant products are always gathered.
bool prefers_gather(const ProductInfo& p, const DeviceInfo& device) {
  constexpr int kLookedUp = 4;    // tokens that share one reading of the weight by look-ups
  constexpr int kFragments = 16;  // gathering for fewer was not measured
  if (!can_run(Family::gather, p, device) || p.tokens == 0) return false;
  if (p.batch_invariant) return true;
  if (!can_run(Family::fragments, p, device)) return p.tokens > kLookedUp;
  const double clear = model::constants_of(device).gather.clear;
  return p.tokens > kFragments && predicted_seconds(Family::gather, p, device) <
                                      clear * predicted_seconds(Family::fragments, p, device);
}

// Fewer tokens, and those of batch-invariant products, are left to fragments.
bool prefers_window(const ProductInfo& p, const DeviceInfo& device) {
  if (p.batch_invariant || p.tokens <= kFragmentTiles.back()) return false;
  if (!can_run(Family::window, p, device)) return false;
  if (!can_run(Family::fragments, p, device)) return true;
  return predicted_seconds(Family::window, p, device) <
         predicted_seconds(Family::fragments, p, device);
}

// A pass of look-ups is for 4 tokens at most, fragments need as long for 8 as for one; which of
// them is faster depends on the weight. Those of batch-invariant products are always fragments.
bool prefers_lookup(const ProductInfo& p, const DeviceInfo& device) {
  constexpr int kFew = 8;
  if (p.batch_invariant || p.tokens > kFew) return false;
  return p.tokens <= 1 || predicted_seconds(Family::lookup, p, device) <
                              predicted_seconds(Family::fragments, p, device);
}

// The best of the other families. Of 2:4 and V:2:M it is one for many tokens, and does not look at
// their number: a token's result must not depend on it.
Family preferred_without_decode(const ProductInfo& p, const DeviceInfo& device) {
  if (p.packing == Packing::elements) {
    if (prefers_blocked(p, device)) return Family::blocked;
    if (prefers_gather(p, device)) return Family::gather;
    if (prefers_window(p, device)) return Family::window;
    if (!can_run(Family::fragments, p, device)) return Family::lookup;
    return prefers_lookup(p, device) ? Family::lookup : Family::fragments;
  }
  // Vectors of 64 rows are gathered faster, at M = 5 as well (0.96 against 0.82 of dense, H200).
  if (p.vector_blocks == 0 && can_run(Family::expand, p, device)) return Family::expand;
  return can_run(Family::wgmma, p, device) ? Family::wgmma : Family::mma;
}

// The smallest tile of fragments that takes all tokens. Of look-ups, which add up in the same order
// whatever the tile, the fastest; of equals the largest. Of quads the fastest, too.
int element_tile(Family family, const std::vector<int>& tiles, const ProductInfo& p,
                 const DeviceInfo& device) {
  const auto enough = std::ranges::find_if(
      tiles, [&](int tile) { return tile >= p.tokens || tile == tiles.back(); });
  if (family == Family::quads) {
    constexpr std::int64_t kRepeated = 64;  // tiles that fewer tokens do not take several of
    const auto least = std::ranges::lower_bound(tiles, std::min(p.tokens, kRepeated));
    return *std::ranges::min_element(std::ranges::subrange(least, tiles.end()), {}, [&](int tile) {
      return model::quads_cost(tile, p, device).seconds;
    });
  }
  if (family != Family::lookup || !p.element.staged) return *enough;
  return *std::ranges::min_element(
      std::ranges::subrange(std::make_reverse_iterator(enough + 1), tiles.rend()), {},
      [&](int tile) { return model::lookup_cost(tile, p, device).seconds; });
}

// Sets the tile and its slices.
void choose_tile(Selection& selection, const ProductInfo& p, const DeviceInfo& device) {
  bool first = true;
  std::tuple<double, double, int, int> least;
  for (std::size_t i = 0; i < kWgmmaShapes.size(); ++i) {
    const WgmmaShape& shape = kWgmmaShapes[i];
    if (!has_tile(shape, selection.family, p)) continue;
    for (const int slices : slice_counts(shape, selection.family, p, device)) {
      const model::Cost predicted =
          selection.family == Family::expand   ? model::expand_cost(shape, slices, p, device)
          : selection.family == Family::gather ? model::gather_cost(shape, slices, p, device)
                                               : model::wgmma_cost(shape, slices, p, device);
      // Of equals, which memory binds, the one that asks least of L2, and then the lower one: a
      // tile's rows behind its vector's end cost nothing in the model. But before that, one for
      // which less is gathered: 256 x 128 instead of 128 x 256.
      const std::tuple<double, double, int, int> cost{
          predicted.seconds, predicted.l2,
          shape.dense() ? shape.activation_bytes() / shape.step_cols() : 0, shape.rows()};
      if (!first && cost >= least) continue;
      first = false;
      least = cost;
      selection.shape = static_cast<int>(i);
      selection.slices = slices;
    }
  }
}

// Times what a family is predicted to take, to compare expanded weights with: many tokens mostly
// take longer, mma of few columns alive takes less (H200, docs/performance/vnm.md).
double beside(const Selection& listed, const ProductInfo& p, const DeviceInfo& device) {
  const auto& c = model::constants_of(device).unpack;
  switch (listed.family) {
    case Family::window:
      return c.beside_windows;
    case Family::wgmma:
      return c.beside_gather;
    case Family::expand:
      return p.group == 6 || p.group == 7 ? c.beside_gaps : c.beside_expand;
    case Family::mma:
      return p.group >= 32         ? c.beside_mma_sparse
             : p.block_vectors > 2 ? c.beside_mma_short
                                   : c.beside_mma;
    default:
      return 1;
  }
}

// The other forms of a weight, where expanding it is predicted to pay: kernels of lists read it
// again for every 64 tokens, or 4; those of V:2:M gather or expand again for every tile.
Selection faster_unpacked(const Selection& listed, const ProductInfo& p, const DeviceInfo& device) {
  constexpr int kFew = 16;  // tokens that text generation meets
  if (p.tokens <= kFew) return listed;
  const double predicted = model::predict(listed, p, device).seconds;
  Selection best = listed;
  double least = beside(listed, p, device) * predicted;
  // Gathered vectors of 64 rows are faster than 2:4 (1.6 and more against 1.4 of dense) but at M =
  // 5, where higher ones still are (1.3 against 1.1). What they save can be less than a transpose,
  // which 2:4 does without: 78 instead of 126 us at 768 x 768 and 50688 tokens.
  const bool gathered = p.packing == Packing::records &&
                        (p.vector_blocks > 1 || (p.vector_blocks == 1 && p.group > 5));
  for (const Family family : {Family::quads, Family::unpack, Family::two_four}) {
    const bool beside_gather = family == Family::two_four && gathered;
    if (!can_run(family, p, device) || (beside_gather && !listed.transpose)) continue;
    const Selection other = select_of(family, p, device);
    if (beside_gather && other.transpose) continue;
    const double seconds = model::predict(other, p, device).seconds;
    if (seconds >= least || (beside_gather && seconds >= predicted)) continue;
    best = other;
    least = seconds;
  }
  return best;
}

}  // namespace

Selection select(const ProductInfo& p, const DeviceInfo& device) {
  const Selection listed =
      faster_held(select_of(preferred_without_decode(p, device), p, device), p, device);
  const Selection many = faster_unpacked(listed, p, device);
  if (p.batch_invariant || p.tokens == 0 || !can_run(Family::decode, p, device)) return many;
  const Selection few = select_of(Family::decode, p, device);
  const auto seconds = [&](const Selection& s) { return model::predict(s, p, device).seconds; };
  // What text generation meets is left to the other kernels only where the model is sure.
  const double sure = p.tokens <= 16 ? 1.6 : 1;
  return seconds(few) <= sure * seconds(many) ? few : many;
}

Selection select_of(Family family, const ProductInfo& p, const DeviceInfo& device) {
  Selection selection;
  selection.family = family;
  if (is_element_family(family)) {  // they read activations as they are
    const auto tiles = element_tiles(family, p);
    if (p.batch_invariant && family == Family::fragments) {
      // Larger tiles add up in another order (fragment_config.h).
      selection.tile_tokens = p.tokens <= 8 || p.fragment_tokens < 16 ? 8 : 16;
      return selection;
    }
    selection.tile_tokens = element_tile(family, tiles, p, device);
    return selection;
  }
  if (family == Family::blocked) return select_blocked(p, device);
  if (family == Family::unpack) {  // so does the library
    selection.shape = p.element_bytes() == 4 && p.f32_products == F32Products::tf32 ? 1 : 0;
    selection.token_major = p.token_major;
    return selection;
  }
  if (family == Family::two_four) {
    selection = select_of(Family::wgmma, as_two_four(p), device);
    selection.family = family;
    return selection;
  }
  if (family == Family::decode) {  // reads any activations as they are
    selection.decode = decode_shape(p, device);
    selection.token_major = p.token_major;
    return selection;
  }
  const bool reads_tokens = (family == Family::wgmma && p.in_order && !p.slots) ||
                            (family == Family::gather && p.runs) ||
                            (family == Family::expand && p.group == expand::kOrderedGroup);
  const bool direct = reads_tokens && p.token_major && p.aligned;
  selection.token_major = direct;
  selection.transpose = p.token_major && !direct;
  // The copy engine takes far longer for boxes that reach behind the last token (2:4 with 24
  // tokens: 66 us instead of 21, H200), which few tokens do in every step: a copy has whole rows.
  const bool boxes = family == Family::expand || (family == Family::wgmma && p.in_order) ||
                     (family == Family::gather && p.runs);
  const int whole = family == Family::expand ? 32 : 64;
  const bool ragged = boxes && p.tokens % whole != 0 && p.tokens < kMostRagged;
  selection.repack = !p.token_major && (!p.aligned || ragged);
  int tile_tokens = 0;
  if (family == Family::mma) {
    selection.mma = mma_shape(p, device);
    tile_tokens = selection.mma.config().tile_tokens();
  } else if (family == Family::window) {
    const std::vector<int> shapes = window_shapes(p, device);
    selection.shape = *std::ranges::min_element(
        shapes, {}, [&](int shape) { return model::window_cost(shape, p, device).seconds; });
    tile_tokens = window_tile_tokens(selection.shape);
  } else {
    choose_tile(selection, p, device);
    tile_tokens = kWgmmaShapes[static_cast<std::size_t>(selection.shape)].tile_tokens();
  }
  selection.token_group = token_group(family, p, tile_tokens, device);
  return selection;
}

}  // namespace coppice::cuda
