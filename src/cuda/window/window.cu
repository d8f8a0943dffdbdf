#include "cuda/window/window.h"
#include "cuda/window/window_launch.h"

namespace coppice::cuda {

void launch_window(const WindowArguments& p, const CUtensorMap& x, int shape, Dtype dtype,
                   int multiprocessors, bool overlaps, cudaStream_t stream) {
  const WindowShape& s = kWindowShapes[static_cast<std::size_t>(shape)];
  const int tiles = p.row_tiles * p.token_tiles;
  WindowLaunch how;
  how.tokens = s.tokens;
  how.vectors = kWindowUnits / window_shared_units(p.weight.layout.vec_rows);
  how.shape.grid =
      dim3(static_cast<unsigned>(std::min(tiles, multiprocessors * p.stage.residents)));
  how.shape.threads = s.threads();
  how.shape.shared_bytes = p.stage.bytes(s);
  how.shape.overlaps = overlaps;
  (dtype == Dtype::f16 ? launch_window_f16 : launch_window_bf16)(how, p, x, stream);
}

}  // namespace coppice::cuda
