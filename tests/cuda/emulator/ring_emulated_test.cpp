// Window rings on the host.
// The first one makes C++ of what follows.
// clang-format off
#include "emulate.h"
#include "cuda/launch.h"
#include "cuda/window/ring_kernel.h"
// clang-format on

namespace coppice::cuda {
std::byte ring_shared[1];
}  // namespace coppice::cuda

#include "cuda/window/ring.h"
#include "cuda/window/ring_map.h"
#include "packed_operands.h"

namespace coppice::cuda {
namespace {

void check(const emulated::ProductCase& c) {
  SCOPED_TRACE(describe(c));
  emulated::PackedProduct product(
      c, [](const ElementLayout& l) { return static_cast<std::int64_t>(l.cols); });
  const ElementLayout& l = product.layout();
  const RingShape& shape = kRingShapes[static_cast<std::size_t>(c.tile)];
  RingArguments p;
  p.weight = product.weight();
  p.x = product.x();
  p.x_token = 1;
  p.x_column = product.x_stride();
  p.tokens = c.tokens;
  p.epilogue = product.epilogue();
  p.window = ring_window(l);
  p.stage = ring_stage(shape, p.window.columns, ring_lists(l.vec_rows), 232448);
  ASSERT_TRUE(p.window.columns > 0 && p.stage.stages > 0);
  p.row_tiles = (c.rows + shape.rows() - 1) / shape.rows();
  p.token_tiles = (c.tokens + shape.tokens() - 1) / shape.tokens();
  const CUtensorMap x = ring_map({p.x, c.type, product.x_stride(), l.cols, product.x_stride(),
                                  p.window.columns, p.window.shift, kRingPanel});
  const CUtensorMap values =
      piece_map(p.weight.values, c.type, 2 * l.units(), l.pieces, 1, shape.rows() / 8);
  launch_ring(p, x, values, shape, c.type, c.multiprocessors, nullptr);
  product.check();
}

TEST(Emulated, WindowRings) {
  constexpr Layout kToken = Layout::token_major, kFeature = Layout::feature_major;
  for (const emulated::ProductCase& c : {
           emulated::ProductCase{
               .pattern = "vw32/8:32", .rows = 256, .cols = 512, .tokens = 64, .tile = 1},
           {"vw32/8:32", 200, 1024, 50, kFeature, 1, 1, Dtype::f16, true},
           {"vw32/8:32", 300, 896, 70, kToken, 1, 1, Dtype::bf16},
           {"vw16/8:32", 270, 640, 130, kToken, 0, 1, Dtype::bf16, true},
           {"vw32/4:32", 256, 1024, 128, kFeature, 0},
           {"vw32/8:32", 600, 512, 200, kToken, 0},
           {"vw64/8:32", 512, 512, 100, kFeature, 0},
       })
    check(c);
}

}  // namespace
}  // namespace coppice::cuda
