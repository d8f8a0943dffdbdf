// Products of element-wise, vector-wise and block-wise weights on the GPU: the same cases as for
// the others (check_problem), over the patterns that have this packing.
#include <gtest/gtest.h>

#include <cstring>

#include "coppice/error.h"
#include "cuda/element/element_plan.h"
#include "cuda/element_problems.h"
#include "cuda/multiply.h"
#include "cuda/weight.h"

namespace coppice::cuda {
namespace {

using cpu::Random;
using cpu::random_int;

// Of every pattern a problem for each range of tokens that has kernels of its own.
TEST(CudaElement, EveryGroupUpTo32) {
  COPPICE_NEEDS_GPU();
  constexpr int kTokens[][2] = {{1, 1}, {2, 4}, {5, 8}, {9, 16}, {17, 32}, {33, 64}};
  Random random(20261131);
  const int step = is_thin() ? 37 : 1;
  int number = 0;
  for (int group = 2; group <= 32; ++group)
    for (int kept = 1; kept < group; ++kept) {
      if ((group == 4 && kept == 2) || ++number % step != 0) continue;
      for (const auto& [least, most] : kTokens) {
        Problem p = random_problem(random, Pattern::make(1, 1, kept, group));
        p.tokens = random_int(random, least, most);
        if (random_int(random, 0, 1) == 0) align_x(p);
        check_problem(p, static_cast<std::uint64_t>(number));
      }
      if (HasFailure()) return;
    }
}

TEST(CudaElement, WholeTiles) {
  COPPICE_NEEDS_GPU();
  std::uint64_t seed = 1;
  for (const char* pattern : {"2:8", "4:8", "2:16", "1:4", "8:16", "8:32", "16:32", "3:32", "2:32",
                              "vw4/8:32", "vw16/2:8", "vw32/8:32", "vw64/16:32", "bw4x4/8:32",
                              "bw2x2/2:4", "bw32x8/4:16", "bw64x64/8:32"})
    for (const Dtype dtype : kTypes)
      for (const std::int64_t tokens : {1, 2, 3, 8, 16, 64})
        check_problem({.pattern = Pattern::parse(pattern),
                       .rows = is_thin() ? 64 : 512,
                       .cols = is_thin() ? 1024 : 4096,
                       .tokens = tokens,
                       .dtype = dtype,
                       .x_layout = seed % 3 == 0 ? Layout::feature_major : Layout::token_major,
                       .y_layout = seed % 2 == 0 ? Layout::token_major : Layout::feature_major,
                       .f32_out = dtype == Dtype::f32},
                      seed++);
}

// Every tile of every family, also where another is preferred.
TEST(CudaElement, EveryKernel) {
  COPPICE_NEEDS_GPU();
  Random random(20261133);
  const int count = case_count(60);
  for (int i = 0; i < count && !HasFailure(); ++i)
    for (const char* pattern :
         {"2:8", "4:8", "2:16", "1:4", "vw4/2:8", "vw16/3:16", "vw32/8:32", "bw64x8/2:8"})
      for (const Family family : {Family::lookup, Family::fragments, Family::quads}) {
        Problem p = random_problem(random, Pattern::parse(pattern));
        p.every_kernel_of = family;
        check_problem(p, static_cast<std::uint64_t>(i));
      }
}

// Fragments alone: every tile of those that hold activations in registers or in shared memory, with
// columns for clusters and passes.
TEST(CudaElement, FragmentsOfFewTokens) {
  COPPICE_NEEDS_GPU();
  Random random(20261122);
  const int count = case_count(20);
  for (int i = 0; i < count && !HasFailure(); ++i)
    for (const char* pattern : {"2:8", "4:8", "2:16"})
      for (const std::int64_t tokens : {2, 7, 16}) {
        Problem p;
        p.pattern = Pattern::parse(pattern);
        p.rows = random_int(random, 1, 300);
        p.cols = random_int(random, 1, i % 3 == 0 ? 20000 : 3000);
        p.tokens = tokens;
        p.dtype = i % 2 == 0 ? Dtype::f16 : Dtype::bf16;
        choose_operands(p, random);
        if (i % 4 != 0) align_x(p);
        p.every_kernel_of = Family::fragments;
        check_problem(p, static_cast<std::uint64_t>(i));
      }
}

// Units of which one half has no rows, and so no choices of its own; lists shared by rows or not,
// of runs that begin at a multiple of 16 bytes or not.
TEST(CudaElement, LookupsOfHalfUnitsAndLists) {
  COPPICE_NEEDS_GPU();
  std::uint64_t seed = 900;
  for (const char* pattern :
       {"4:8", "8:16", "8:32", "16:32", "vw32/8:32", "vw24/8:32", "vw8/8:32", "bw32x2/8:32",
        "bw16x4/8:32", "bw8x8/3:8", "bw4x16/2:8", "bw16x32/1:3"})
    for (const Dtype dtype : kTypes)
      for (const std::int64_t rows : {8, 264}) {
        if (++seed % 5 != 0 && is_thin()) continue;
        check_problem({.pattern = Pattern::parse(pattern),
                       .rows = rows,
                       .cols = 1400,
                       .tokens = 5,
                       .dtype = dtype,
                       .x_layout = Layout::token_major,
                       .every_kernel_of = Family::lookup},
                      seed);
      }
}

TEST(CudaElement, TinyAndEmpty) {
  COPPICE_NEEDS_GPU();
  std::uint64_t seed = 200;
  for (const char* pattern : {"2:8", "4:8", "5:8", "vw32/8:32", "bw4x4/2:4"})
    for (std::int64_t rows : {0, 1, 7, 65})
      for (std::int64_t cols : {0, 1, 3, 9, 70})
        for (std::int64_t tokens : {0, 1, 5})
          check_problem({.pattern = Pattern::parse(pattern),
                         .rows = rows,
                         .cols = cols,
                         .tokens = tokens,
                         .bias = true},
                        seed++);
}

TEST(CudaElement, RandomPatterns) {
  COPPICE_NEEDS_GPU();
  Random random(20261132);
  const int count = case_count(400);
  for (int i = 0; i < count && !HasFailure();) {
    const Pattern pattern = cpu::random_pattern(random);
    if (!is_element_pattern(pattern)) continue;
    check_problem(random_problem(random, pattern), static_cast<std::uint64_t>(++i));
  }
}

// Clusters, several passes, several units of a thread block.
TEST(CudaElement, LargeAndLopsided) {
  COPPICE_NEEDS_GPU();
  struct Size {
    const char* pattern;
    std::int64_t rows, cols;
  };
  std::uint64_t seed = 300;
  for (const Size& size : {Size{"2:8", 16, 16384}, Size{"2:8", 9000, 1024}, Size{"3:32", 40, 30000},
                           Size{"vw32/8:32", 100, 20000}, Size{"16:32", 20000, 512},
                           Size{"2:16", 1000, 40000}, Size{"5:8", 48, 9000}})
    for (const Dtype dtype : kTypes)
      for (const std::int64_t tokens : {1, 4}) {
        if (is_thin() && seed++ % 6 != 0) continue;
        check_problem({.pattern = Pattern::parse(size.pattern),
                       .rows = size.rows,
                       .cols = size.cols,
                       .tokens = tokens,
                       .dtype = dtype,
                       .x_layout = Layout::token_major,
                       .f32_out = dtype == Dtype::f32},
                      seed++);
      }
}

struct Operands {
  SparseMatrix weight;
  PackedWeight packed;
  GpuBytes x, y;
  Matrix x_matrix;
  MutableMatrix y_matrix;

  Operands(const char* pattern, Dtype dtype, std::int64_t tokens, std::uint64_t seed)
      : weight(make_weight(pattern, dtype, seed)),
        packed(weight.view()),
        x(make_x(dtype, tokens, seed)),
        y(static_cast<std::size_t>(tokens * kRows * dtype_bytes(dtype))),
        x_matrix{x.data(), dtype, tokens, kCols, Layout::token_major, 0},
        y_matrix{y.data(), dtype, tokens, kRows, Layout::token_major, 0} {}

  static constexpr std::int64_t kRows = 300, kCols = 2000;
  static SparseMatrix make_weight(const char* pattern, Dtype dtype, std::uint64_t seed) {
    Random random(seed);
    return cpu::random_weight(random, Pattern::parse(pattern), kRows, kCols, dtype);
  }
  static std::vector<std::byte> make_x(Dtype dtype, std::int64_t tokens, std::uint64_t seed) {
    Random random(seed + 1);
    std::vector<std::byte> bytes(static_cast<std::size_t>(tokens * kCols * dtype_bytes(dtype)));
    from_float(dtype, cpu::random_floats(random, tokens * kCols), bytes.data());
    return bytes;
  }
};

TEST(CudaElement, BatchInvariantProductsDoNotDependOnTheTokens) {
  COPPICE_NEEDS_GPU();
  for (const char* pattern : {"2:8", "4:8", "5:8", "3:32", "vw32/8:32", "2:16"})
    for (const Dtype dtype : kTypes) {
      const Operands all(pattern, dtype, 70, 10);
      const MultiplyOptions options{.batch_invariant = true};
      const GpuBytes memory(
          static_cast<std::size_t>(workspace_bytes(all.packed, all.x_matrix, options)));
      const Workspace workspace{memory.data(), workspace_bytes(all.packed, all.x_matrix, options)};
      multiply(all.packed, all.x_matrix, all.y_matrix, {}, workspace, nullptr, options);
      ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess);
      const std::vector<std::byte> want = all.y.read();
      for (const std::int64_t tokens : {1, 2, 3, 5, 17, 64}) {
        Matrix x = all.x_matrix;
        MutableMatrix y = all.y_matrix;
        x.tokens = y.tokens = tokens;
        ASSERT_EQ(cudaMemset(all.y.data(), 0xFF, want.size()), cudaSuccess);
        multiply(all.packed, x, y, {}, workspace, nullptr, options);
        ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess);
        const std::vector<std::byte> got = all.y.read();
        const auto bytes =
            static_cast<std::ptrdiff_t>(tokens * Operands::kRows * dtype_bytes(dtype));
        EXPECT_TRUE(std::equal(got.begin(), got.begin() + bytes, want.begin()))
            << pattern << " " << dtype_name(dtype) << " with " << tokens << " tokens";
      }
    }
}

// The same of gathered products, which may want a copy of x.
TEST(CudaElement, BatchInvariantGatheredProductsDoNotDependOnTheTokens) {
  COPPICE_NEEDS_GPU();
  for (const char* pattern : {"vw64/8:32", "vw128/16:32", "bw64x64/2:4", "bw64x8/2:4"}) {
    const Operands all(pattern, Dtype::f16, 600, 10);
    const MultiplyOptions options{.batch_invariant = true};
    const GpuBytes memory(static_cast<std::size_t>(1024 * Operands::kCols * 2));
    const Workspace workspace{memory.data(), 1024 * Operands::kCols * 2};
    const auto bits = [&](std::int64_t tokens) {
      Matrix x = all.x_matrix;
      MutableMatrix y = all.y_matrix;
      x.tokens = y.tokens = tokens;
      expect_ok(
          cudaMemset(all.y.data(), 0xFF, static_cast<std::size_t>(600 * Operands::kRows * 2)));
      multiply(all.packed, x, y, {}, workspace, nullptr, options);
      expect_ok(cudaDeviceSynchronize());
      std::vector<std::byte> got = all.y.read();
      got.resize(static_cast<std::size_t>(tokens * Operands::kRows * 2));
      return got;
    };
    const std::vector<std::byte> want = bits(600);
    EXPECT_EQ(bits(600), want) << pattern << ": again";
    for (const std::int64_t tokens : {1, 5, 64, 65, 130, 257, 513}) {
      const std::vector<std::byte> got = bits(tokens);
      EXPECT_TRUE(std::equal(got.begin(), got.end(), want.begin()))
          << pattern << " with " << tokens << " tokens";
    }
  }
}

// Products that follow each other and read what the one before wrote, in a graph and outside.
TEST(CudaElement, ChainsInGraphsGiveTheSameBits) {
  COPPICE_NEEDS_GPU();
  Random random(77);
  const std::int64_t size = 1024;
  const SparseMatrix weight =
      cpu::random_weight(random, Pattern::parse("2:8"), size, size, Dtype::f16);
  const PackedWeight packed(weight.view());
  std::vector<std::byte> start(static_cast<std::size_t>(size * 2));
  from_float(Dtype::f16, cpu::random_floats(random, size), start.data());
  const GpuBytes x(start);
  std::vector<GpuBytes> y;
  for (int i = 0; i < 8; ++i) y.emplace_back(start.size());
  cudaStream_t stream;
  ASSERT_EQ(cudaStreamCreate(&stream), cudaSuccess);
  const auto chain = [&] {
    const std::byte* from = x.data();
    for (const GpuBytes& to : y) {
      multiply(packed, {from, Dtype::f16, 1, size, Layout::token_major, 0},
               {to.data(), Dtype::f16, 1, size, Layout::token_major, 0}, {.alpha = 0.06f}, {},
               stream);
      from = to.data();
    }
  };
  const auto step_by_step = [&] {
    const std::byte* from = x.data();
    for (const GpuBytes& to : y) {
      multiply(packed, {from, Dtype::f16, 1, size, Layout::token_major, 0},
               {to.data(), Dtype::f16, 1, size, Layout::token_major, 0}, {.alpha = 0.06f}, {},
               stream);
      ASSERT_EQ(cudaStreamSynchronize(stream), cudaSuccess);
      from = to.data();
    }
  };
  step_by_step();
  const std::vector<std::byte> want = y.back().read();
  cudaGraph_t graph;
  cudaGraphExec_t executable;
  ASSERT_EQ(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal), cudaSuccess);
  chain();
  ASSERT_EQ(cudaStreamEndCapture(stream, &graph), cudaSuccess);
  ASSERT_EQ(cudaGraphInstantiate(&executable, graph, 0), cudaSuccess);
  for (int i = 0; i < 20; ++i) {
    for (const GpuBytes& one : y) ASSERT_EQ(cudaMemset(one.data(), 0xFF, want.size()), cudaSuccess);
    ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess);
    i % 2 == 0 ? chain() : expect_ok(cudaGraphLaunch(executable, stream));
    ASSERT_EQ(cudaStreamSynchronize(stream), cudaSuccess);
    ASSERT_EQ(y.back().read(), want) << i;
  }
  cudaGraphExecDestroy(executable);
  cudaGraphDestroy(graph);
  cudaStreamDestroy(stream);
}

// Arrays on the device, packed again in place.
TEST(CudaElement, RepacksOnTheDevice) {
  COPPICE_NEEDS_GPU();
  for (const char* pattern : {"2:8", "4:8", "vw32/8:32"}) {
    const Operands first(pattern, Dtype::f16, 3, 1), second(pattern, Dtype::f16, 3, 2);
    const GpuBytes values(second.weight.values), columns(second.weight.columns);
    const SparseDeviceView view{second.weight.grid, Dtype::f16, values.data(),
                                columns.data(),     nullptr,    nullptr};
    PackedWeight packed(first.weight.view());
    packed.repack(view);
    const PackedWeight fresh(view);
    multiply(second.packed, second.x_matrix, second.y_matrix);
    ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess);
    const auto want = second.y.read();
    for (const PackedWeight* weight : {&std::as_const(packed), &fresh}) {
      ASSERT_EQ(cudaMemset(second.y.data(), 0xFF, want.size()), cudaSuccess);
      multiply(*weight, second.x_matrix, second.y_matrix);
      ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess);
      EXPECT_EQ(second.y.read(), want) << pattern;
    }
  }
}

TEST(CudaElement, RefusesWhatDoesNotFit) {
  COPPICE_NEEDS_GPU();
  Random random(5);
  for (const char* pattern : {"dense", "64:3/6:8"}) {
    const SparseMatrix weight =
        cpu::random_weight(random, Pattern::parse(pattern), 64, 64, Dtype::f16);
    EXPECT_THROW(PackedWeight{weight.view()}, InvalidArgument) << pattern;
  }
  const SparseMatrix two_four =
      cpu::random_weight(random, Pattern::parse("2:4"), 64, 64, Dtype::f32);
  EXPECT_THROW(PackedWeight{two_four.view()}, InvalidArgument);
  const Operands o("2:8", Dtype::f32, 2, 11);
  MutableMatrix y = o.y_matrix;
  y.dtype = Dtype::f16;
  EXPECT_THROW(multiply(o.packed, o.x_matrix, y), InvalidArgument) << "f32 weights give f32";
  EXPECT_EQ(workspace_bytes(o.packed, o.x_matrix), 0);
}

}  // namespace
}  // namespace coppice::cuda
