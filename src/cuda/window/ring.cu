#include <algorithm>

#include "cuda/launch.h"
#include "cuda/window/ring.h"
#include "cuda/window/ring_kernel.h"

namespace coppice::cuda {
namespace {

template <Dtype kType, int kPanels>
auto kernel_of(int lists) {
  return lists == 1 ? ring_kernel<kType, kPanels, 1> : ring_kernel<kType, kPanels, 2>;
}
template <Dtype kType>
auto kernel_of(const RingShape& shape, int lists) {
  return shape.panels == 2 ? kernel_of<kType, 2>(lists) : kernel_of<kType, 1>(lists);
}

}  // namespace

void launch_ring(const RingArguments& p, const CUtensorMap& x, const CUtensorMap& values,
                 const RingShape& shape, Dtype dtype, int multiprocessors, cudaStream_t stream) {
  const int lists = ring_lists(p.weight.layout.vec_rows);
  LaunchShape how;
  how.grid = dim3(static_cast<unsigned>(std::min(p.row_tiles * p.token_tiles, multiprocessors)));
  how.threads = shape.threads();
  how.shared_bytes = p.stage.shared_bytes();
  how.overlaps = true;
  launch(dtype == Dtype::f16 ? kernel_of<Dtype::f16>(shape, lists)
                             : kernel_of<Dtype::bf16>(shape, lists),
         how, stream, "launching a product by windows", p, x, values);
}

}  // namespace coppice::cuda
