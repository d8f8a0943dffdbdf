// Products of weights that are expanded to another form first, against the double-precision
// reference (check_problem): every pattern, dtype, layout and epilogue, tails and odd strides.
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "cuda/element/element_plan.h"
#include "cuda/gpu.h"
#include "cuda/multiply.h"
#include "cuda/weight.h"

namespace coppice::cuda {
namespace {

using cpu::Random;
using cpu::random_int;

constexpr Dtype kTypes[] = {Dtype::f16, Dtype::bf16, Dtype::f32};
constexpr Layout kLayouts[] = {Layout::token_major, Layout::feature_major};

void check(Problem p, Family family, std::uint64_t seed) {
  p.every_kernel_of = family;
  check_problem(p, seed);
}

Problem random_problem(Random& random, const Pattern& pattern) {
  Problem p;
  p.pattern = pattern;
  const auto coin = [&] { return random_int(random, 0, 1) == 1; };
  p.rows = random_int(random, 1, coin() ? 400 : 60);
  p.cols = random_int(random, 1, coin() ? 3000 : 300);
  p.tokens = random_int(random, 1, coin() ? 300 : 40);
  p.dtype = kTypes[random_int(random, 0, 2)];
  choose_operands(p, random);
  return p;
}

// Indices, masks of one word and of several, lists of every run; blocks that divide a piece and
// blocks that do not.
constexpr const char* kPatterns[] = {
    "2:8",       "4:8",         "2:16",      "1:4",        "8:16",       "16:32",     "3:32",
    "5:7",       "1:3",         "1:2",       "40:64",      "100:129",    "200:256",   "3:256",
    "vw4/8:32",  "vw2/3:5",     "vw16/2:8",  "vw16/8:32",  "vw32/8:32",  "vw3/16:32", "bw4x4/2:4",
    "bw2x2/2:4", "bw1x3/20:33", "bw1x5/2:3", "bw64x8/3:8", "bw32x6/4:16"};

TEST(CudaUnpack, EveryKindOfWeight) {
  COPPICE_NEEDS_GPU();
  Random random(20261151);
  const int count = case_count(12);
  for (int i = 0; i < count && !HasFailure(); ++i)
    for (const char* pattern : kPatterns)
      check(random_problem(random, Pattern::parse(pattern)), Family::unpack,
            static_cast<std::uint64_t>(i));
}

TEST(CudaUnpack, RandomPatterns) {
  COPPICE_NEEDS_GPU();
  Random random(20261152);
  const int count = case_count(150);
  for (int i = 0; i < count && !HasFailure();) {
    const Pattern pattern = cpu::random_pattern(random);
    if (!is_element_pattern(pattern)) continue;
    check(random_problem(random, pattern), Family::unpack, static_cast<std::uint64_t>(++i));
  }
}

TEST(CudaUnpack, EveryPatternOfTwoOfFour) {
  COPPICE_NEEDS_GPU();
  Random random(20261153);
  const int count = case_count(8);
  for (int i = 0; i < count && !HasFailure(); ++i)
    for (const char* pattern : {"2:8", "2:16", "2:12", "2:32", "2:256", "1:2", "1:3", "1:4", "1:5",
                                "1:17", "vw4/2:8", "vw16/2:8", "vw32/1:4", "bw1x2/1:2"}) {
      Problem p = random_problem(random, Pattern::parse(pattern));
      p.dtype = kTypes[random_int(random, 0, 1)];
      p.permuted = false;
      p.col_segments.clear();
      if (random_int(random, 0, 2) == 0) p.tokens += 300;
      check(p, Family::two_four, static_cast<std::uint64_t>(i));
    }
}

// Large enough for more windows than one and for whole tiles, in every layout.
TEST(CudaUnpack, WholeTiles) {
  COPPICE_NEEDS_GPU();
  const bool thin = case_count(1000) < 1000;
  std::uint64_t seed = 1;
  for (const char* pattern : {"2:8", "4:8", "8:32", "vw4/8:32", "vw16/8:32", "bw4x4/2:4"})
    for (const Dtype dtype : kTypes)
      for (const Layout in : kLayouts)
        for (const Layout out : kLayouts)
          for (const Family family : {Family::unpack, Family::two_four}) {
            if (thin && seed++ % 5 != 0) continue;
            check({.pattern = Pattern::parse(pattern),
                   .rows = thin ? 64 : 256,
                   .cols = thin ? 1024 : 2112,
                   .tokens = thin ? 64 : 256,
                   .dtype = dtype,
                   .x_layout = in,
                   .y_layout = out,
                   .f32_out = dtype == Dtype::f32},
                  family, seed++);
          }
}

// Rows that are read as a whole for each of their windows.
TEST(CudaUnpack, PermutedLongRows) {
  COPPICE_NEEDS_GPU();
  std::uint64_t seed = 1;
  for (const std::int64_t cols : {20000, 60000})
    for (const char* pattern : {"2:8", "16:32", "vw32/8:32"})
      for (const Dtype dtype : {Dtype::bf16, Dtype::f32})
        check({.pattern = Pattern::parse(pattern),
               .rows = 21,
               .cols = cols,
               .tokens = 30,
               .dtype = dtype,
               .f32_out = dtype == Dtype::f32,
               .permuted = true},
              Family::unpack, seed++);
}

std::vector<float> floats_of(const GpuBytes& memory, Dtype dtype) {
  const std::vector<std::byte> bytes = memory.read();
  std::vector<float> values(bytes.size() / static_cast<std::size_t>(dtype_bytes(dtype)));
  to_float(dtype, bytes.data(), values);
  return values;
}

// A residual or factor in y itself, also where sums elsewhere have no room at once.
TEST(CudaUnpack, CombinesInPlace) {
  COPPICE_NEEDS_GPU();
  struct Size {
    std::int64_t rows, cols, tokens;
  };
  const bool thin = case_count(1000) < 1000;
  Random random(20261154);
  for (const Size& size : {Size{300, 200, 90}, Size{4100, 64, thin ? 70 : 5000}})
    for (const Layout layout : kLayouts)
      for (const bool multiplies : {false, true})
        for (const Activation activation : {Activation::none, Activation::gelu}) {
          const auto& [rows, cols, tokens] = size;
          const PackedWeight weight(
              cpu::random_weight(random, Pattern::parse("4:8"), rows, cols, Dtype::f16).view());
          const auto halves = [&](std::int64_t count) {
            std::vector<std::byte> bytes(static_cast<std::size_t>(count * 2));
            from_float(Dtype::f16, cpu::random_floats(random, count), bytes.data());
            return bytes;
          };
          const GpuBytes x(halves(tokens * cols)), other(halves(tokens * rows)),
              apart(static_cast<std::size_t>(tokens * rows * 2)), within(other.read());
          const Matrix in{x.data(), Dtype::f16, tokens, cols, layout, 0};
          ProductInfo product = product_info(weight, in);
          if (!can_run(Family::unpack, product, weight.impl().device_info))
            GTEST_SKIP() << "cuBLASLt is missing";
          const Selection selection = select_of(Family::unpack, product, weight.impl().device_info);
          const GpuBytes workspace(
              static_cast<std::size_t>(workspace_bytes_of(selection, weight, tokens)));
          const auto run = [&](const GpuBytes& y, const void* combined) {
            Epilogue epilogue{.alpha = 0.5f, .activation = activation};
            (multiplies ? epilogue.factor : epilogue.residual) = combined;
            multiply_by(selection, weight, in, {y.data(), Dtype::f16, tokens, rows, layout, 0},
                        epilogue, {workspace.data(), workspace_bytes_of(selection, weight, tokens)},
                        nullptr);
            expect_ok(cudaDeviceSynchronize());
          };
          run(apart, other.data());
          run(within, within.data());
          (void)workspace.read();
          const std::vector<float> want = floats_of(apart, Dtype::f16),
                                   got = floats_of(within, Dtype::f16);
          double error = 0, norm = 0;
          for (std::size_t i = 0; i < want.size(); ++i) {
            error += std::pow(got[i] - want[i], 2);
            norm += std::pow(want[i], 2);
          }
          EXPECT_LE(std::sqrt(error), 6e-4 * std::sqrt(norm))
              << rows << " rows " << static_cast<int>(layout) << multiplies;
        }
}

// That a product of many tokens does not go tile by tile where it need not.
TEST(CudaUnpack, IsChosenForManyTokens) {
  COPPICE_NEEDS_GPU();
  for (const char* pattern : {"4:8", "8:16", "vw4/8:32", "bw4x4/2:4", "2:8"})
    for (const Dtype dtype : {Dtype::f16, Dtype::f32}) {
      Random random(3);
      const PackedWeight weight(
          cpu::random_weight(random, Pattern::parse(pattern), 2048, 2048, dtype).view());
      if (weight.impl().library == nullptr) GTEST_SKIP() << "cuBLASLt is missing";
      for (const Layout layout : kLayouts) {
        const std::string name = kernel_name(weight, 2048, layout);
        const bool listed = dtype == Dtype::f32 && name.starts_with("blocked");
        EXPECT_TRUE(name.starts_with("unpack") || listed) << pattern << ": " << name;
        EXPECT_FALSE(kernel_name(weight, 8, layout).starts_with("unpack")) << pattern;
        const MultiplyOptions options{.batch_invariant = true};
        EXPECT_FALSE(kernel_name(weight, 2048, layout, options).starts_with("unpack")) << pattern;
      }
    }
}

}  // namespace
}  // namespace coppice::cuda
