#include "cuda/blocked/blocked_product.h"

#include <bit>

#include "cuda/blocked/blocked_select.h"

namespace coppice::cuda {

void multiply_blocked(const Selection& selection, const ElementPacked& packed,
                      const ProductInfo& product, const DeviceInfo& device, const Matrix& x,
                      const EpilogueArguments& epilogue, Stream stream) {
  const BlockedShape& shape = kBlockedShapes[static_cast<std::size_t>(selection.shape)];
  const auto aligned_16 = [](const void* data) {
    return reinterpret_cast<std::uintptr_t>(data) % 16 == 0;
  };
  const auto tiles = [](std::int64_t all, int of) {
    return static_cast<std::int32_t>((all + of - 1) / of);
  };
  BlockedArguments p;
  p.weight = packed.weight;
  p.x = x.data;
  p.x_token = 1;
  p.x_column = x.major_stride();
  p.tokens = static_cast<std::int32_t>(x.tokens);
  p.epilogue = epilogue;
  p.run_shift = std::countr_zero(static_cast<unsigned>(p.weight.layout.run));
  p.lists = blocked_lists(shape, product);
  if (shape.windowed()) p.window = blocked_window(shape, product, device);
  p.row_tiles = tiles(p.weight.layout.rows, shape.rows());
  p.token_tiles = tiles(x.tokens, shape.tokens());
  p.token_group = selection.token_group;
  p.wide_out =
      aligned_16(epilogue.y) && aligned_16(epilogue.residual) && epilogue.y_stride % 4 == 0;
#if COPPICE_CUDA_WGMMA
  if (shape.warpgroups()) {
    launch_blocked_wgmma(selection.shape, p, device.multiprocessors, stream);
    return;
  }
  if (shape.fed()) {
    launch_blocked_fed(selection.shape, p, stream);
    return;
  }
#endif
  launch_blocked(selection.shape, p, stream);
}

}  // namespace coppice::cuda
