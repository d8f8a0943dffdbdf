#include "cuda/kernels/decode.h"
#include "cuda/kernels/decode_launch.h"

namespace coppice::cuda {

void launch_decode(DecodeArguments a, Dtype type, int lists, const DeviceInfo& device,
                   cudaStream_t stream) {
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
