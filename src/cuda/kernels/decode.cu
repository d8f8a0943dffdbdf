#include <algorithm>
#include <cstdint>

#include "cuda/kernels/decode.h"
#include "cuda/kernels/decode_launch.h"

namespace coppice::cuda {
namespace {

// Tiles of units for every multiprocessor, or as few times that as warps have room for.
void share_tiles(DecodeArguments& a, int multiprocessors) {
  std::int64_t units = 0;
  for (int i = 0; i < a.weights; ++i) units += std::int64_t{a.product[i].block_count} * kBlockUnits;
  const int most = decode::most_tile_units(a.shape);
  int largest = most + 1;
  for (std::int64_t tiles = multiprocessors; largest > most; tiles += multiprocessors) {
    largest = a.row_tiles = 0;
    for (int i = 0; i < a.weights; ++i) {
      const std::int64_t own = std::int64_t{a.product[i].block_count} * kBlockUnits;
      a.share[i] = decode::share_units(own, tiles * own / std::max<std::int64_t>(1, units));
      a.first_tile[i] = a.row_tiles;
      a.row_tiles += a.share[i].tiles;
      largest = std::max(largest, a.share[i].most());
    }
  }
}

void launch_ring(DecodeArguments a, Dtype type, int lists, const DeviceInfo& device,
                 cudaStream_t stream) {
  const ProductArguments& p = a.product[0];
  share_tiles(a, device.multiprocessors);
  int most = 1;
  for (int i = 0; i < a.weights; ++i) most = std::max(most, a.share[i].most());
  a.ring = decode::ring_sizes(a.shape, most, lists, p.steps, p.cols, p.tokens, device.shared_bytes);
  if (!a.x_token_major && p.tokens == 1 && p.x_stride == 1) {  // then it is both
    a.x_token_major = true;
    a.x_wide = reinterpret_cast<std::uintptr_t>(p.x) % 16 == 0;
  }
  const int token_tiles = (p.tokens + a.shape.tokens - 1) / a.shape.tokens;
  const decode::Launch launch{
      lists, dim3(static_cast<unsigned>(a.row_tiles), static_cast<unsigned>(token_tiles)),
      decode::ring_bytes(a.ring, a.shape), true, stream};
  (type == Dtype::f16 ? decode::launch_f16 : decode::launch_bf16)(launch, a);
}

}  // namespace

void launch_decode(DecodeArguments a, Dtype type, int lists, const DeviceInfo& device,
                   cudaStream_t stream) {
  if (decode::is_ring(a.shape)) return launch_ring(a, type, lists, device, stream);
  const ProductArguments& p = a.product[0];
  const bool regular = !a.shared_window;
  const int group = p.columns.group;
  const std::int64_t window = decode::window_columns(regular, group, p.cols, a.shape.chunk_steps);
  a.window = static_cast<std::int32_t>(window);
  a.panel = static_cast<std::int32_t>(
      decode::panel_bytes(regular ? window * a.shape.slice_warps : window));
  const int token_tiles = (p.tokens + a.shape.tokens - 1) / a.shape.tokens;
  const decode::Launch launch{
      lists,
      dim3(static_cast<unsigned>(a.row_tiles * a.shape.cluster),
           static_cast<unsigned>(token_tiles)),
      static_cast<int>(decode::shared_bytes(a.shape, regular, group, p.cols)),
      device.compute_capability >= 90, stream};
  (type == Dtype::f16 ? decode::launch_f16 : decode::launch_bf16)(launch, a);
}

}  // namespace coppice::cuda
