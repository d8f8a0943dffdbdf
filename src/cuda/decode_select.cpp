#include "cuda/decode_select.h"

#include <algorithm>

#include "core/rounding.h"
#include "cuda/kernels/decode_ring_sizes.h"
#include "cuda/model/model.h"

namespace coppice::cuda {
namespace {

constexpr int kReserved = 1024;  // of shared memory, for every thread block
constexpr int kInboxBytes = 16;  // a barrier of the decode kernels

bool has_clusters(const DeviceInfo& device) { return device.compute_capability >= 90; }

int shared_of_block(int tokens, const DeviceInfo& device) {
  return (device.shared_bytes + kReserved) / decode_residents(tokens) - kReserved - kInboxBytes;
}

// As many steps of activations at once as fit; 0 if none does.
int most_chunk_steps(DecodeShape s, const ProductInfo& p, const DeviceInfo& device) {
  const int shared = shared_of_block(s.tokens, device);
  if (decode::reduction_bytes(s) > shared) return 0;
  const int all = static_cast<int>(std::max<std::int64_t>(1, ceil_div(p.steps, s.slices())));
  const auto fits = [&](int steps) {
    s.chunk_steps = steps;
    return decode::activation_bytes(s, p.regular, p.group, p.cols) <= shared;
  };
  if (!p.regular) return fits(all) ? all : 0;
  int chunks = 1;
  while (chunks < all && !fits(static_cast<int>(ceil_div(all, chunks)))) ++chunks;
  int steps = static_cast<int>(ceil_div(all, chunks));
  if (chunks > 1) steps = std::max(2, steps / 2 * 2);  // warps keep records in pairs
  return fits(steps) ? steps : 0;
}

// Of the ring kernels, with room for as many units as a thread block can have; none if there is no
// such kernel or no room.
void add_ring(std::vector<DecodeShape>& shapes, int tokens, int slices, const ProductInfo& p,
              const DeviceInfo& device) {
  if (!has_clusters(device) || tokens > decode::kMostRingTokens) return;
  const int lists = p.in_order ? 0 : p.block_vectors;
  if (lists > 0 && (tokens > 8 || p.tokens > decode::kMostListedTokens)) return;
  DecodeShape s;
  s.tokens = tokens;
  s.slice_warps = std::min(decode::ring_warps(tokens), slices);
  s.row_warps = decode::ring_warps(tokens) / s.slice_warps;
  s.cluster = slices / s.slice_warps;
  s.chunk_steps = 0;
  const decode::RingSizes sizes = decode::ring_sizes(s, decode::most_tile_units(s), lists, p.steps,
                                                     p.cols, p.tokens, device.shared_bytes);
  if (sizes.slots > 0) shapes.push_back(s);
}

}  // namespace

// As many as two thread blocks on every multiprocessor can work on at once: fewer have too few
// bytes under way, more need a second round. More than two thread blocks in a cluster cost more
// than their warps bring (H200, 4096 x 4096 at 64:2:8, one token: 5.3 us with 16 slices, 9.9 with
// 32).
int decode_slices(const ProductInfo& p, const DeviceInfo& device) {
  const int most = decode::kWarps * (has_clusters(device) ? 2 : 1);
  const std::int64_t warps = std::int64_t{device.multiprocessors} * 2 * decode::kWarps;
  int slices = 1;
  while (slices < most && slices < p.steps && 2 * slices * p.blocks <= warps) slices *= 2;
  return slices;
}

std::vector<DecodeShape> decode_shapes(const ProductInfo& p, const DeviceInfo& device) {
  std::vector<DecodeShape> shapes;
  if (p.tokens > kMostDecodeTokens) return shapes;
  const int slices = decode_slices(p, device);
  for (const int tokens : kDecodeTokens) {
    add_ring(shapes, tokens, slices, p, device);
    for (int slice_warps = 1; slice_warps <= std::min(slices, decode::kWarps); slice_warps *= 2) {
      DecodeShape s;
      s.tokens = tokens;
      s.slice_warps = slice_warps;
      s.row_warps = decode::kWarps / slice_warps;
      s.cluster = slices / slice_warps;
      if (s.cluster > (has_clusters(device) ? decode::kMostCluster : 1)) continue;
      s.chunk_steps = most_chunk_steps(s, p, device);
      if (s.chunk_steps > 0) shapes.push_back(s);
    }
    if (tokens >= p.tokens) break;
  }
  return shapes;
}

DecodeShape decode_shape(const ProductInfo& p, const DeviceInfo& device) {
  const std::vector<DecodeShape> shapes = decode_shapes(p, device);
  return *std::ranges::min_element(
      shapes, {}, [&](const DecodeShape& s) { return model::decode_cost(s, p, device).seconds; });
}

}  // namespace coppice::cuda
