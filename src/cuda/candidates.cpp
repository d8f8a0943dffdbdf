#include "cuda/candidates.h"

#include <fmt/format.h>

#include <algorithm>

#include "coppice/error.h"

namespace coppice::cuda {
namespace {

std::int64_t token_tiles(const Selection& selection, const ProductInfo& product) {
  const std::int64_t tile = tile_tokens(selection);
  return (product.tokens + tile - 1) / tile;
}

// Adds what `select` says of the same product where only one family is there.
void add_family(std::vector<Selection>& all, const ProductInfo& product, const DeviceInfo& device) {
  try {
    const Selection one = select(product, device);
    if (one.family != all[0].family) all.push_back(one);
  } catch (const DeviceError&) {
    // The portable kernels need more shared memory than there is: no candidate.
  }
}

}  // namespace

int tile_tokens(const Selection& selection) {
  return selection.family == Family::mma
             ? selection.mma.config().tile_tokens()
             : kWgmmaShapes[static_cast<std::size_t>(selection.shape)].tile_tokens();
}

std::vector<Selection> candidates(const ProductInfo& product, const DeviceInfo& device) {
  std::vector<Selection> all{select(product, device)};
  if (all[0].family == Family::wgmma) {
    for (std::size_t i = 0; i < kWgmmaShapes.size(); ++i) {
      Selection other = all[0];
      other.shape = static_cast<int>(i);
      if (other.shape == all[0].shape) continue;
      if (product.in_order && !kWgmmaShapes[i].in_order) continue;
      other.token_group = token_group(product, tile_tokens(other), device);
      all.push_back(other);
    }
    DeviceInfo portable = device;
    portable.has_wgmma = false;
    add_family(all, product, portable);
  } else {
    for (const MmaShape& shape : mma_shapes(product, device)) {
      if (shape.kernel == all[0].mma.kernel) continue;
      Selection other = all[0];
      other.mma = shape;
      other.token_group = token_group(product, tile_tokens(other), device);
      all.push_back(other);
    }
  }
  return all;
}

std::vector<Selection> token_groups(const Selection& selection, const ProductInfo& product) {
  std::vector<Selection> others;
  for (int group = 1; group <= 16 && group <= token_tiles(selection, product); group *= 2) {
    if (group == selection.token_group) continue;
    others.push_back(selection);
    others.back().token_group = group;
  }
  return others;
}

bool same_sums(const Selection& a, const Selection& b) { return a.family == b.family; }

std::string tile_name(const Selection& selection) {
  if (selection.family == Family::mma) {
    const MmaShape& m = selection.mma;
    const MmaKernel& k = m.config();
    return fmt::format("mma {} {} {}x{} by {} rows {} stages {}", rows_name(k.rows), k.vectors,
                       k.row_warps, k.token_warps, k.halves, m.stage_rows, m.stages);
  }
  const WgmmaShape& w = kWgmmaShapes[static_cast<std::size_t>(selection.shape)];
  return fmt::format("wgmma {}x{} by {}x{} stages {} resident {}", w.row_groups, w.group_blocks,
                     w.token_groups, w.tokens, w.stages, w.thread_blocks);
}

std::string configuration_name(const Selection& selection) {
  return fmt::format("{} group {}", tile_name(selection), selection.token_group);
}

}  // namespace coppice::cuda
