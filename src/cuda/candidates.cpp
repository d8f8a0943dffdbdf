#include "cuda/candidates.h"

#include <fmt/format.h>

#include <algorithm>

#include "coppice/error.h"
#include "cuda/blocked/blocked_select.h"
#include "cuda/decode_select.h"
#include "cuda/element/fragment_config.h"
#include "cuda/element/held_select.h"
#include "cuda/kernels/decode_sizes.h"
#include "cuda/window/ring_layout.h"

namespace coppice::cuda {
namespace {

std::int64_t token_tiles(const Selection& selection, const ProductInfo& product) {
  const std::int64_t tile = tile_tokens(selection);
  return (product.tokens + tile - 1) / tile;
}

// Adds the kernels of a family that can run the product, the best first, without `first`.
void add_family(std::vector<Selection>& all, Family family, const ProductInfo& product,
                const DeviceInfo& device) {
  const std::string first = tile_name(all[0]);
  const auto add = [&](Selection selection) {
    if (tile_name(selection) == first) return;
    selection.token_group = token_group(family, product, tile_tokens(selection), device);
    all.push_back(selection);
  };
  Selection best;
  try {
    best = select_of(family, product, device);
  } catch (const DeviceError&) {
    return;  // the portable kernels need more shared memory than there is
  }
  if (is_element_family(family)) {
    for (const int tokens : element_tiles(family, product)) {
      best.tile_tokens = tokens;
      add(best);
    }
    if (family == Family::fragments)
      for (const Selection& held : held_selections(product, device)) add(held);
  } else if (family == Family::blocked) {
    for (const Selection& one : blocked_selections(product, device)) add(one);
  } else if (family == Family::two_four) {
    for (const Selection& one : two_four_selections(product, device)) add(one);
  } else if (family == Family::unpack) {
    add(best);
  } else if (family == Family::decode) {
    const int tokens = best.decode.tokens;
    for (const DecodeShape& shape : decode_shapes(product, device)) {
      best.decode = shape;
      if (shape.tokens == tokens) add(best);
    }
  } else if (family == Family::window) {
    for (const int shape : window_shapes(product, device)) {
      best.shape = shape;
      add(best);
    }
  } else if (family != Family::mma) {
    for (std::size_t i = 0; i < kWgmmaShapes.size(); ++i) {
      best.shape = static_cast<int>(i);
      if (!has_tile(kWgmmaShapes[i], family, product)) continue;
      for (const int slices : slice_counts(kWgmmaShapes[i], family, product, device)) {
        best.slices = slices;
        add(best);
      }
    }
  } else if (!can_run(Family::wgmma, product, device) &&
             !can_run(Family::expand, product, device)) {
    for (const MmaShape& shape : mma_shapes(product, device)) {
      best.mma = shape;
      add(best);
    }
  } else {
    add(best);
  }
}

}  // namespace

int tile_tokens(const Selection& selection) {
  if (is_element_family(selection.family)) return selection.tile_tokens;
  if (selection.family == Family::decode) return selection.decode.tokens;
  if (selection.family == Family::unpack) return 1 << 30;  // all that there can be
  if (selection.family == Family::blocked)
    return kBlockedShapes[static_cast<std::size_t>(selection.shape)].tokens();
  if (selection.family == Family::window) return window_tile_tokens(selection.shape);
  return selection.family == Family::mma
             ? selection.mma.config().tile_tokens()
             : kWgmmaShapes[static_cast<std::size_t>(selection.shape)].tile_tokens();
}

std::vector<Selection> candidates(const ProductInfo& product, const DeviceInfo& device) {
  std::vector<Selection> all{select(product, device)};
  for (Family family : {Family::wgmma, Family::expand, Family::mma, Family::decode, Family::lookup,
                        Family::fragments, Family::quads, Family::blocked, Family::gather,
                        Family::window, Family::unpack, Family::two_four})
    if (can_run(family, product, device)) add_family(all, family, product, device);
  return all;
}

std::vector<Selection> token_groups(const Selection& selection, const ProductInfo& product) {
  std::vector<Selection> others;
  if (is_element_family(selection.family)) return others;  // one tile after the other
  if (selection.family == Family::decode || selection.family == Family::unpack)
    return others;  // have no groups
  for (int group = 1; group <= 16 && group <= token_tiles(selection, product); group *= 2) {
    if (group == selection.token_group) continue;
    others.push_back(selection);
    others.back().token_group = group;
  }
  return others;
}

bool same_sums(const Selection& a, const Selection& b) {
  if (a.family != b.family || a.slices != b.slices) return false;
  if (a.family == Family::blocked) return same_blocked_sums(a, b);
  if (a.family == Family::unpack) return a.shape == b.shape;
  if (is_held(a) || is_held(b)) return is_held(a) && is_held(b);
  if (a.family == Family::expand)
    return kWgmmaShapes[static_cast<std::size_t>(a.shape)].col_groups ==
           kWgmmaShapes[static_cast<std::size_t>(b.shape)].col_groups;
  // Ranks follow from how many thread blocks fit on a multiprocessor.
  return a.family != Family::fragments ||
         fragment_residents(a.tile_tokens) == fragment_residents(b.tile_tokens);
}

std::string tile_name(const Selection& selection) {
  if (is_element_family(selection.family)) return selection_name(selection) + " tokens";
  if (selection.family == Family::blocked || selection.family == Family::unpack)
    return selection_name(selection);
  if (selection.family == Family::decode) {
    const DecodeShape& d = selection.decode;
    return fmt::format("decode {}{} warps by {} slices of {}, {} tokens",
                       decode::is_ring(d) ? "ring " : "", d.row_warps, d.slice_warps, d.cluster,
                       d.tokens);
  }
  if (selection.family == Family::mma) {
    const MmaShape& m = selection.mma;
    const MmaKernel& k = m.config();
    return fmt::format("mma {} {} {}x{} by {} rows {} stages {}", rows_name(k.rows), k.vectors,
                       k.row_warps, k.token_warps, k.halves, m.stage_rows, m.stages);
  }
  if (selection.family == Family::window) return selection_name(selection);
  const WgmmaShape& w = kWgmmaShapes[static_cast<std::size_t>(selection.shape)];
  const std::string slices =
      selection.slices > 1 ? fmt::format(" slices {}", selection.slices) : "";
  if (selection.family == Family::expand)
    return fmt::format("expand {}x{} by {}x{} {} {}{}", w.row_groups, w.group_blocks,
                       w.token_groups, w.tokens, w.col_groups > 1 ? "turns" : "resident",
                       w.col_groups > 1 ? w.col_groups : w.thread_blocks, slices);
  return fmt::format("{} {}x{} by {}x{} stages {} resident {}{}",
                     selection.family == Family::gather     ? "gather"
                     : selection.family == Family::two_four ? "unpack 2:4"
                                                            : "wgmma",
                     w.row_groups, w.group_blocks, w.token_groups, w.tokens, w.stages,
                     w.thread_blocks, slices);
}

std::string configuration_name(const Selection& selection) {
  return fmt::format("{} group {}", tile_name(selection), selection.token_group);
}

}  // namespace coppice::cuda
