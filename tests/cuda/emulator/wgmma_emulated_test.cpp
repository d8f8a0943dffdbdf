// 2:4 and V:2:M on sparse tensor cores, on the host.
// The first one makes C++ of what follows.
// clang-format off
#include "emulate.h"
#include "cuda/kernels/wgmma_kernel.h"
// clang-format on

namespace coppice::cuda {
namespace {
std::byte shared[1];
}  // namespace
}  // namespace coppice::cuda

#include "cpu/random_weight.h"
#include "cuda/host_pack.h"
#include "operands.h"

namespace coppice::cuda {
namespace {

constexpr Layout kToken = Layout::token_major, kFeature = Layout::feature_major;

struct SparseCase {
  const char* pattern;
  int rows, cols, tokens;
  Layout y = kFeature;
  int slices = 1;
  bool residual = false;
};

template <int kShape, Source kSource, Dtype kType>
void check(const SparseCase& c) {
  constexpr WgmmaShape kTile = kWgmmaShapes[kShape];
  SCOPED_TRACE(testing::Message() << c.pattern << " " << c.rows << " x " << c.cols << ", "
                                  << c.tokens << " tokens, tile " << kShape << ", slices "
                                  << c.slices);
  cpu::Random random(static_cast<std::uint64_t>(c.rows * 31 + c.cols + c.tokens));
  const SparseMatrix weight =
      cpu::random_weight(random, Pattern::parse(c.pattern), c.rows, c.cols, kType);
  const HostPack pack = pack_on_host(weight.view(), 1);
  const emulated::Bytes records(pack.records.data(), pack.records.size());
  const emulated::Bytes columns(pack.columns.data(), pack.columns.size());
  const bool token_major = kSource == Source::token_major;
  const int x_tokens = (c.tokens + 63) / 64 * 64;
  const emulated::Numbers x(
      kType,
      cpu::random_floats(random, std::int64_t{c.cols} * (token_major ? c.tokens : x_tokens)));
  emulated::Outputs y(kType, c.tokens, c.rows, c.y,
                      (c.y == kToken ? 8 - c.rows % 8 : 8 - c.tokens % 8) % 8);
  const emulated::Numbers residual(kType, cpu::random_floats(random, y.count()));

  std::size_t table = 0;
  while (kTileBlocks[table] != kTile.blocks()) ++table;
  ProductArguments p;
  p.records = records.data();
  if (kSource == Source::gathered)
    p.columns = {columns.data(), pack.plan.quad_bytes, weight.grid->pattern().group};
  p.units = pack.plan.units.data();
  p.row_tiles = pack.plan.tiles[table].data();
  p.row_tile_count = static_cast<int>(pack.plan.tiles[table].size());
  p.token_tile_count = (c.tokens + kTile.tile_tokens() - 1) / kTile.tile_tokens();
  p.block_count = static_cast<int>(pack.plan.blocks);
  p.steps = static_cast<int>(pack.plan.steps);
  p.x = x.data();
  p.x_stride = token_major ? c.cols : x_tokens;
  p.rows = c.rows, p.cols = c.cols, p.tokens = c.tokens;
  p.x_tokens = token_major ? c.tokens : x_tokens;
  p.slices = c.slices, p.token_group = 2, p.staged = true;
  p.epilogue.y = y.data();
  p.epilogue.y_stride = y.stride();
  p.epilogue.token_major = y.token_major();
  p.epilogue.wide = true;
  if (c.residual) p.epilogue.residual = residual.data(), p.epilogue.wide_residual = true;
  // Two thread blocks have all tiles, but for slices, which selection gives one tile each.
  const DeviceInfo device{.multiprocessors = c.slices > 1 ? 132 : 2};
  launch<kShape, kSource, kType>(p, device, nullptr);

  std::vector<std::byte> bytes(static_cast<std::size_t>(2 * c.rows * c.cols));
  decompress(weight.view(), {bytes.data(), kType, c.rows, c.cols, c.cols});
  std::vector<float> dense(bytes.size() / 2);
  to_float(kType, bytes.data(), dense);
  y.check([&](int t, int row) {
    double sum = 0;
    for (int col = 0; col < c.cols; ++col)
      sum += double{dense[static_cast<std::size_t>(row * c.cols + col)]} *
             x[static_cast<std::size_t>(token_major ? t * c.cols + col : col * x_tokens + t)];
    return c.residual ? sum + residual[y.index(t, row)] : sum;
  });
}

TEST(Emulated, SparseWgmma) {
  constexpr Dtype kF16 = Dtype::f16, kBf16 = Dtype::bf16;
  check<3, Source::feature_major, kF16>({"2:4", 130, 256, 128});
  check<3, Source::token_major, kBf16>({"2:4", 200, 200, 100, kToken, 2});
  check<5, Source::token_major, kF16>({"2:4", 130, 640, 70, kFeature, 4});
  check<6, Source::feature_major, kF16>({"2:4", 130, 256, 300, kToken, 1, true});
  check<0, Source::gathered, kF16>({"128:2:8", 256, 512, 256});
  check<0, Source::gathered, kBf16>({"128:2:5", 200, 330, 100, kToken, 1, true});
  check<1, Source::gathered, kF16>({"256:2:16", 300, 1100, 130, kToken});
  check<2, Source::gathered, kF16>({"64:2:8", 130, 512, 520});
  check<3, Source::gathered, kF16>({"128:2:100", 200, 2000, 130, kToken, 2});
  check<4, Source::gathered, kBf16>({"64:2:8", 130, 520, 130, kFeature, 1, true});
  check<5, Source::gathered, kF16>({"64:2:8", 130, 1024, 70, kToken, 3});
}

}  // namespace
}  // namespace coppice::cuda
