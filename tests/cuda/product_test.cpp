// Products on the GPU against the double-precision reference.
#include <gtest/gtest.h>

#include <cmath>

#include "coppice/error.h"
#include "cuda/gpu.h"
#include "cuda/multiply.h"
#include "cuda/weight.h"

namespace coppice::cuda {
namespace {

using cpu::Random;
using cpu::random_int;

TEST(CudaProduct, WholeTiles) {
  COPPICE_NEEDS_GPU();
  std::uint64_t seed = 1;
  for (const char* pattern : {"2:4", "64:2:8", "128:2:8", "256:2:8", "128:2:16", "64:2:16",
                              "64:2:5", "128:2:100", "32:2:8", "16:2:8"})
    for (Dtype dtype : {Dtype::f16, Dtype::bf16})
      for (std::int64_t tokens : {64, 256, 512})
        check_problem({.pattern = Pattern::parse(pattern),
                       .rows = 512,
                       .cols = 1024,
                       .tokens = tokens,
                       .dtype = dtype,
                       .y_layout = seed % 2 == 0 ? Layout::token_major : Layout::feature_major},
                      seed++);
}

TEST(CudaProduct, LayoutsAndEpilogues) {
  COPPICE_NEEDS_GPU();
  std::uint64_t seed = 100;
  for (const char* pattern : {"2:4", "128:2:8", "64:2:8", "32:2:6"})
    for (Layout in : {Layout::token_major, Layout::feature_major})
      for (Layout out : {Layout::token_major, Layout::feature_major})
        for (bool f32_out : {false, true})
          for (int activation = 0; activation < 5; ++activation)
            check_problem({.pattern = Pattern::parse(pattern),
                           .rows = 256,
                           .cols = 256,
                           .tokens = 192,
                           .x_layout = in,
                           .y_layout = out,
                           .f32_out = f32_out,
                           .bias = true,
                           .f32_bias = activation % 2 == 0,
                           .residual = activation != 3,
                           .alpha = 0.5f,
                           .activation = static_cast<Activation>(activation)},
                          seed++);
}

TEST(CudaProduct, TinyAndEmpty) {
  COPPICE_NEEDS_GPU();
  std::uint64_t seed = 200;
  for (const char* pattern : {"2:4", "64:2:8", "16:2:5"})
    for (std::int64_t rows : {0, 1, 7, 65})
      for (std::int64_t cols : {0, 1, 3, 9, 70})
        for (std::int64_t tokens : {0, 1, 5, 130})
          check_problem({.pattern = Pattern::parse(pattern),
                         .rows = rows,
                         .cols = cols,
                         .tokens = tokens,
                         .bias = true},
                        seed++);
}

Pattern random_vnm(Random& random) {
  constexpr int kRows[] = {2, 16, 16, 24, 32, 32, 48, 64, 64, 80, 128, 128, 192, 256, 256, 512};
  constexpr int kGroups[] = {5, 6, 7, 8, 8, 9, 12, 16, 16, 20, 32, 64, 100, 256};
  if (random_int(random, 0, 3) == 0) return Pattern::parse("2:4");
  return Pattern::make(kRows[random_int(random, 0, std::size(kRows) - 1)], 1, 4,
                       kGroups[random_int(random, 0, std::size(kGroups) - 1)], 2);
}

Problem random_problem(Random& random) {
  Problem p;
  p.pattern = random_vnm(random);
  auto size = [&](int largest) {
    return random_int(random, 0, 2) == 0 ? 8 * random_int(random, 1, largest / 8)
                                         : random_int(random, 1, largest);
  };
  p.rows = size(600);
  p.cols = size(700);
  p.tokens = size(random_int(random, 0, 1) == 0 ? 80 : 600);
  p.dtype = random_int(random, 0, 1) == 0 ? Dtype::f16 : Dtype::bf16;
  choose_operands(p, random);
  return p;
}

// Until the first failure. change(problem, random): what the problems have in common.
template <typename Change>
void check_random(unsigned seed, const Change& change) {
  const int count = case_count(300);
  Random random(seed);
  for (int i = 0; i < count && !testing::Test::HasFailure(); ++i) {
    Problem p = random_problem(random);
    change(p, random);
    check_problem(p, static_cast<std::uint64_t>(i));
  }
}

void check_random(unsigned seed, Family every_kernel_of) {
  check_random(seed, [=](Problem& p, Random&) { p.every_kernel_of = every_kernel_of; });
}

TEST(CudaProduct, RandomProblems) {
  COPPICE_NEEDS_GPU();
  check_random(20261121, [](Problem&, Random&) {});
}

TEST(CudaProduct, EveryMmaKernel) {
  COPPICE_NEEDS_GPU();
  std::uint64_t seed = 300;
  for (const char* pattern : {"2:4", "64:2:5", "64:2:8", "128:2:8", "32:2:8", "16:2:8"})
    for (std::int64_t tokens : {64, 136})
      check_problem({.pattern = Pattern::parse(pattern),
                     .rows = 600,
                     .cols = 1024,
                     .tokens = tokens,
                     .dtype = seed % 2 == 0 ? Dtype::f16 : Dtype::bf16,
                     .every_kernel_of = Family::mma},
                    seed++);
  check_random(20261122, Family::mma);
}

// Every tile, whole and cut into slices of its columns.
TEST(CudaProduct, EveryGatheringKernel) {
  COPPICE_NEEDS_GPU();
  std::uint64_t seed = 600;
  for (const char* pattern : {"2:4", "64:2:8", "80:2:7", "128:2:16", "256:2:8", "64:2:100"})
    for (std::int64_t cols : {70, 400, 2048})
      for (std::int64_t tokens : {64, 136, 520})
        check_problem({.pattern = Pattern::parse(pattern),
                       .rows = 600,
                       .cols = cols,
                       .tokens = tokens,
                       .dtype = seed % 2 == 0 ? Dtype::f16 : Dtype::bf16,
                       .y_layout = seed % 3 == 0 ? Layout::token_major : Layout::feature_major,
                       .bias = seed % 5 == 0,
                       .every_kernel_of = Family::wgmma},
                      seed++);
  check_random(20261126, Family::wgmma);
}

// Residuals that the ring brings (kernels/wgmma_residual.h): every tile; blocks, vectors and tokens
// that end within a tile; vectors that do not begin on 16 bytes; tiles that follow each other.
TEST(CudaProduct, ResidualsThroughTheRing) {
  COPPICE_NEEDS_GPU();
  std::uint64_t seed = 800;
  const auto check = [&](const char* pattern, Family family, Problem p) {
    p.pattern = Pattern::parse(pattern);
    p.dtype = seed % 2 == 0 ? Dtype::f16 : Dtype::bf16;
    p.residual = true;
    p.bias = seed % 3 == 0;
    p.every_kernel_of = family;
    check_problem(p, seed++);
  };
  const std::pair<const char*, Family> kinds[] = {
      {"2:4", Family::wgmma},        {"64:2:8", Family::wgmma},     {"80:2:7", Family::wgmma},
      {"128:2:16", Family::wgmma},   {"256:2:8", Family::wgmma},    {"16:2:5", Family::two_four},
      {"64:2:8", Family::two_four},  {"vw64/8:32", Family::gather}, {"vw128/8:32", Family::gather},
      {"vw256/8:32", Family::gather}};
  for (const auto& [pattern, family] : kinds)
    for (const Layout layout : {Layout::token_major, Layout::feature_major}) {
      check(pattern, family, {.rows = 600, .cols = 320, .tokens = 520, .y_layout = layout});
      check(pattern, family, {.rows = 391, .cols = 70, .tokens = 300, .y_layout = layout});
      check(pattern, family,
            {.rows = 520,
             .cols = 128,
             .tokens = 264,
             .y_layout = layout,
             .y_extra = 8,
             .row_segments = {133, 387}});
    }
  for (const char* pattern : {"2:4", "64:2:8", "128:2:16"})
    check(pattern, Family::wgmma,
          {.rows = case_count(300) < 10 ? 512 : 3072,
           .cols = 192,
           .tokens = 2904,
           .y_layout = seed % 2 == 0 ? Layout::token_major : Layout::feature_major});
}

// Every tile, also where another family is preferred; V that leaves units short, and blocks that
// hold parts of several vectors.
TEST(CudaProduct, EveryExpandingKernel) {
  COPPICE_NEEDS_GPU();
  std::uint64_t seed = 400;
  for (const char* pattern :
       {"16:2:5", "64:2:5", "128:2:5", "32:2:6", "64:2:7", "16:2:8", "24:2:8", "80:2:7", "128:2:8",
        "8:2:8", "2:2:5", "16:2:16", "24:2:16", "64:2:16", "2:2:16"})
    for (std::int64_t cols : {128, 400, 1027})
      for (std::int64_t tokens : {64, 136, 520})
        check_problem({.pattern = Pattern::parse(pattern),
                       .rows = 600,
                       .cols = cols,
                       .tokens = tokens,
                       .dtype = seed % 2 == 0 ? Dtype::f16 : Dtype::bf16,
                       .x_layout = seed % 5 < 2 ? Layout::token_major : Layout::feature_major,
                       .y_layout = seed % 3 == 0 ? Layout::token_major : Layout::feature_major,
                       .every_kernel_of = Family::expand},
                      seed++);
  check_random(20261123, [](Problem& p, Random& random) {
    p.pattern = Pattern::make(p.pattern.is_two_four() ? 16 : p.pattern.vec_rows, 1, 4,
                              random_int(random, 5, 9), 2);
    if (p.pattern.group > 8) p.pattern = Pattern::make(p.pattern.vec_rows, 1, 4, 16, 2);
    p.permuted = false;
    p.every_kernel_of = Family::expand;
  });
}

// Every shape of thread blocks and every number of tokens up to the most, tails of all kinds.
TEST(CudaProduct, EveryDecodeKernel) {
  COPPICE_NEEDS_GPU();
  std::uint64_t seed = 500;
  for (const char* pattern :
       {"2:4", "64:2:8", "128:2:16", "32:2:8", "16:2:5", "64:2:32", "256:2:100", "512:2:256"})
    for (const std::int64_t tokens : {1, 2, 5, 8, 9, 16, 23, 32, 33, 57, 64})
      for (const std::int64_t cols : {128, 1027, 4096})
        check_problem({.pattern = Pattern::parse(pattern),
                       .rows = seed % 5 == 0 ? 1000 : 192,
                       .cols = cols,
                       .tokens = tokens,
                       .dtype = seed % 2 == 0 ? Dtype::f16 : Dtype::bf16,
                       .x_layout = seed % 3 == 0 ? Layout::feature_major : Layout::token_major,
                       .y_layout = seed % 3 == 1 ? Layout::feature_major : Layout::token_major,
                       .bias = seed % 7 == 0,
                       .every_kernel_of = Family::decode},
                      seed++);
  check_random(20261125, [](Problem& p, Random& random) {
    p.tokens = random_int(random, 1, 64);
    p.every_kernel_of = Family::decode;
  });
}

struct Operands {
  SparseMatrix weight;
  PackedWeight packed;
  GpuBytes x, y;
  Matrix x_matrix;
  MutableMatrix y_matrix;
};

Operands make_operands(const char* pattern, std::int64_t tokens, std::uint64_t seed) {
  Random random(seed);
  SparseMatrix weight = cpu::random_weight(random, Pattern::parse(pattern), 384, 512, Dtype::f16);
  PackedWeight packed(weight.view());
  std::vector<std::byte> x(static_cast<std::size_t>(tokens * 512 * 2));
  from_float(Dtype::f16, cpu::random_floats(random, tokens * 512), x.data());
  Operands o{std::move(weight),
             std::move(packed),
             GpuBytes(x),
             GpuBytes(static_cast<std::size_t>(tokens * 384 * 2)),
             {},
             {}};
  o.x_matrix = {o.x.data(), Dtype::f16, tokens, 512, Layout::feature_major, 0};
  o.y_matrix = {o.y.data(), Dtype::f16, tokens, 384, Layout::token_major, 0};
  return o;
}

// Thread blocks with many tiles, all multiprocessors busy: what comes and goes at a tile's borders
// meets what is still being read. Two families that share no kernel have to agree.
TEST(CudaProduct, ExpandingKernelsAgreeWithThePortableOnLargeProducts) {
  COPPICE_NEEDS_GPU();
  constexpr std::int64_t kRows = 4096, kCols = 2048, kTokens = 8192;
  Random random(20261124);
  const GpuBytes x([&] {
    std::vector<std::byte> bytes(kCols * kTokens * 2);
    from_float(Dtype::f16, cpu::random_floats(random, kCols * kTokens), bytes.data());
    return bytes;
  }());
  const Matrix x_matrix{x.data(), Dtype::f16, kTokens, kCols, Layout::feature_major, 0};
  for (const char* pattern : {"32:2:5", "16:2:8", "16:2:16"}) {
    const SparseMatrix weight =
        cpu::random_weight(random, Pattern::parse(pattern), kRows, kCols, Dtype::f16);
    const PackedWeight packed(weight.view());
    ProductInfo product = packed.impl().product;
    product.tokens = kTokens;
    const DeviceInfo& device = packed.impl().device_info;
    if (!can_run(Family::expand, product, device)) GTEST_SKIP() << "needs compute capability 9.0";
    const auto multiplied = [&](Family family) {
      const GpuBytes y(kRows * kTokens * 2);
      const MutableMatrix y_matrix{y.data(), Dtype::f16, kTokens, kRows, Layout::feature_major, 0};
      multiply_by(select_of(family, product, device), packed, x_matrix, y_matrix, {}, {}, nullptr);
      EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
      std::vector<float> values(kRows * kTokens);
      to_float(Dtype::f16, y.read().data(), values);
      return values;
    };
    const std::vector<float> want = multiplied(Family::mma);
    for (int repeat = 0; repeat < 3; ++repeat) {
      const std::vector<float> got = multiplied(Family::expand);
      std::int64_t wrong = 0;
      for (std::size_t i = 0; i < want.size(); ++i)
        wrong += !(std::abs(got[i] - want[i]) <= 0.02f + 0.002f * std::abs(want[i]));
      EXPECT_EQ(wrong, 0) << pattern;
    }
  }
}

TEST(CudaProduct, CanBeCapturedAndReplayed) {
  COPPICE_NEEDS_GPU();
  const Operands o = make_operands("128:2:8", 256, 7);
  cudaStream_t stream;
  ASSERT_EQ(cudaStreamCreate(&stream), cudaSuccess);
  multiply(o.packed, o.x_matrix, o.y_matrix, {}, {}, stream);
  ASSERT_EQ(cudaStreamSynchronize(stream), cudaSuccess);
  const std::vector<std::byte> once = o.y.read();
  cudaGraph_t graph;
  cudaGraphExec_t executable;
  ASSERT_EQ(cudaMemset(o.y.data(), 0xFF, once.size()), cudaSuccess);
  ASSERT_EQ(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal), cudaSuccess);
  multiply(o.packed, o.x_matrix, o.y_matrix, {}, {}, stream);
  ASSERT_EQ(cudaStreamEndCapture(stream, &graph), cudaSuccess);
  ASSERT_EQ(cudaGraphInstantiate(&executable, graph, 0), cudaSuccess);
  for (int i = 0; i < 3; ++i) ASSERT_EQ(cudaGraphLaunch(executable, stream), cudaSuccess);
  ASSERT_EQ(cudaStreamSynchronize(stream), cudaSuccess);
  EXPECT_EQ(o.y.read(), once) << "the same bits, in every replay";
  cudaGraphExecDestroy(executable);
  cudaGraphDestroy(graph);
  cudaStreamDestroy(stream);
}

TEST(CudaProduct, TwoStreamsAtOnce) {
  COPPICE_NEEDS_GPU();
  const Operands a = make_operands("64:2:8", 320, 8), b = make_operands("2:4", 320, 9);
  multiply(a.packed, a.x_matrix, a.y_matrix);
  multiply(b.packed, b.x_matrix, b.y_matrix);
  ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess);
  const auto want_a = a.y.read(), want_b = b.y.read();
  cudaStream_t streams[2];
  for (cudaStream_t& s : streams)
    ASSERT_EQ(cudaStreamCreateWithFlags(&s, cudaStreamNonBlocking), cudaSuccess);
  for (int i = 0; i < 20; ++i) {
    multiply(a.packed, a.x_matrix, a.y_matrix, {}, {}, streams[0]);
    multiply(b.packed, b.x_matrix, b.y_matrix, {}, {}, streams[1]);
  }
  ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess);
  EXPECT_EQ(a.y.read(), want_a);
  EXPECT_EQ(b.y.read(), want_b);
  for (cudaStream_t s : streams) cudaStreamDestroy(s);
}

TEST(CudaProduct, TokensDoNotDependOnTheirNumber) {
  COPPICE_NEEDS_GPU();
  for (const char* pattern : {"2:4", "16:2:8", "64:2:8", "128:2:8", "256:2:16"}) {
    const Operands all = make_operands(pattern, 1024, 10);
    const MultiplyOptions invariant{.batch_invariant = true};
    const GpuBytes workspace(512 * 1024 *
                             2);  // for a copy of x: its whole rows are tiles of tokens
    multiply(all.packed, all.x_matrix, all.y_matrix, {}, {}, nullptr, invariant);
    ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess);
    const std::vector<std::byte> want = all.y.read();
    for (std::int64_t tokens : {8, 64, 72, 200, 512}) {
      Matrix x = all.x_matrix;
      MutableMatrix y = all.y_matrix;
      x.stride = 1024;
      x.tokens = y.tokens = tokens;
      ASSERT_EQ(cudaMemset(all.y.data(), 0xFF, want.size()), cudaSuccess);
      ASSERT_LE(workspace_bytes(all.packed, x, invariant), 512 * 1024 * 2);
      multiply(all.packed, x, y, {}, {workspace.data(), 512 * 1024 * 2}, nullptr, invariant);
      ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess);
      const std::vector<std::byte> got = all.y.read();
      const auto bytes = static_cast<std::ptrdiff_t>(tokens * 384 * 2);
      EXPECT_TRUE(std::equal(got.begin(), got.begin() + bytes, want.begin()))
          << pattern << " with " << tokens << " tokens";
    }
  }
}

TEST(CudaProduct, RefusesWhatDoesNotFit) {
  COPPICE_NEEDS_GPU();
  const Operands o = make_operands("64:2:8", 128, 11);
  Matrix x = o.x_matrix;
  x.features = 511;
  EXPECT_THROW(multiply(o.packed, x, o.y_matrix), InvalidArgument);
  x = o.x_matrix;
  x.tokens = 63;
  EXPECT_THROW(multiply(o.packed, x, o.y_matrix), InvalidArgument);
  x = o.x_matrix;
  x.dtype = Dtype::bf16;
  EXPECT_THROW(multiply(o.packed, x, o.y_matrix), InvalidArgument);
  x = o.x_matrix;
  x.layout = Layout::token_major;
  EXPECT_GT(workspace_bytes(o.packed, x), 0);
  EXPECT_THROW(multiply(o.packed, x, o.y_matrix), InvalidArgument) << "without a workspace";
}

}  // namespace
}  // namespace coppice::cuda
