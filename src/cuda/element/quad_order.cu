// Activations in the order that products of quads need (quad_form.h): any layout, any alignment,
// permuted or in segments. A thread has four slots of a token.
#include "cuda/element/quad_arguments.h"
#include "cuda/element/stage.h"
#include "cuda/launch.h"
#include "cuda/ptx/launch.h"

namespace coppice::cuda {
namespace {

constexpr int kFours = kBlockSlots / 4, kTokensTogether = 16;

// Bits do not care which of the 16-bit types they are.
__device__ std::uint32_t element_bits(const QuadArguments& p, int place, int token) {
  const int column = activation_column(p.weight, place);
  if (column < 0) return 0;
  return static_cast<const std::uint16_t*>(p.x)[token * p.x_token + column * p.x_column];
}

__global__ void __launch_bounds__(kFours* kTokensTogether)
    order_kernel(const __grid_constant__ QuadArguments p, int tile, int tokens) {
  const int i = static_cast<int>(threadIdx.x), block = static_cast<int>(blockIdx.x);
  // Neighbours read what lies together.
  const int four = p.x_column == 1 ? i % kFours : i / kTokensTogether;
  const int together = p.x_column == 1 ? i / kFours : i % kTokensTogether;
  const int token = static_cast<int>(blockIdx.y) * kTokensTogether + together;
  const int place = slot_place(p.weight.layout.group, block, four);
  ptx::let_next_kernel_begin();
  ptx::wait_for_kernels_before();
  if (token >= tokens) return;
  uint2 out = make_uint2(0, 0);
  if (token < p.tokens) {
    if (p.wide && p.weight.sources == nullptr && place + 4 <= p.weight.layout.cols) {
      out = *reinterpret_cast<const uint2*>(static_cast<const std::uint16_t*>(p.x) +
                                            token * p.x_token + place);
    } else {
      out.x = element_bits(p, place, token) | element_bits(p, place + 1, token) << 16;
      out.y = element_bits(p, place + 2, token) | element_bits(p, place + 3, token) << 16;
    }
  }
  const std::int64_t row = (std::int64_t{token / tile} * p.blocks + block) * tile;
  *reinterpret_cast<uint2*>(p.ordered + row * 128 + slot_byte(token % tile, four)) = out;
}

}  // namespace

void launch_quad_order(const QuadArguments& p, int tile, cudaStream_t stream) {
  LaunchShape shape;
  const int tokens = (p.tokens + tile - 1) / tile * tile;
  shape.grid = dim3(static_cast<unsigned>(p.blocks),
                    static_cast<unsigned>((tokens + kTokensTogether - 1) / kTokensTogether));
  shape.threads = kFours * kTokensTogether;
  shape.overlaps = true;
  launch(order_kernel, shape, stream, "ordering activations", p, tile, tokens);
}

}  // namespace coppice::cuda
