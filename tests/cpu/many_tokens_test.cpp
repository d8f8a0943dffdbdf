// The product for many tokens against the double-precision reference: every pattern, shape, layout,
// dtype, epilogue and target.
#include "cpu/many_tokens.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "cpu/guards.h"
#include "cpu/many_tokens_plan.h"
#include "cpu/random_weight.h"
#include "cpu/target.h"
#include "hwy/targets.h"

namespace coppice::cpu {
namespace {

constexpr float kGuard = -12345.0f;

// Activations with a stride, and guard zones around and between the data.
struct Guarded {
  std::vector<float> data;
  MutableActivations view;

  Guarded(std::int64_t tokens, std::int64_t features, Layout layout, std::int64_t gap) {
    const std::int64_t packed = layout == Layout::token_major ? features : tokens;
    const std::int64_t lines = layout == Layout::token_major ? tokens : features;
    constexpr std::int64_t kMargin = 64;
    data.assign(static_cast<std::size_t>(lines * (packed + gap) + 2 * kMargin), kGuard);
    view = {data.data() + kMargin, tokens, features, layout, packed + gap};
  }
  Activations input() const {
    return {view.data, view.tokens, view.features, view.layout, view.stride};
  }
  // Everything that is not an element still holds the guard.
  bool intact() const {
    return cpu::guards_hold(data, view, [](float v) { return v == kGuard; });
  }
};

struct Problem {
  SparseMatrix weight;
  std::int64_t tokens = 1;
  Layout x_layout = Layout::token_major, y_layout = Layout::token_major;
  std::int64_t x_gap = 0, y_gap = 0;
  float alpha = 1;
  bool with_bias = false;
  Activation activation = Activation::none;
  int threads = 1;

  std::string describe() const {
    return fmt::format("{} {} {}x{} tokens {} x {} y {} alpha {} bias {} activation {} threads {}",
                       weight.pattern().to_string(), dtype_name(weight.dtype), weight.rows(),
                       weight.cols(), tokens, static_cast<int>(x_layout),
                       static_cast<int>(y_layout), alpha, with_bias, static_cast<int>(activation),
                       threads);
  }
};

// Runs a problem and compares every output with the reference.
void check(const Problem& problem, Random& random) {
  SCOPED_TRACE(problem.describe());
  const std::int64_t rows = problem.weight.rows(), cols = problem.weight.cols();
  Guarded x(problem.tokens, cols, problem.x_layout, problem.x_gap);
  Guarded y(problem.tokens, rows, problem.y_layout, problem.y_gap);
  std::normal_distribution<float> normal;
  for (std::int64_t t = 0; t < problem.tokens; ++t) {
    for (std::int64_t c = 0; c < cols; ++c) x.view.at(t, c) = normal(random);
    for (std::int64_t r = 0; r < rows; ++r)
      y.view.at(t, r) = std::numeric_limits<float>::quiet_NaN();
  }
  const std::vector<float> bias = random_floats(random, problem.with_bias ? rows : 0);
  const Epilogue epilogue{problem.alpha, bias, problem.activation};

  const PackedWeight packed(problem.weight.view());
  many_tokens_multiply(packed.impl(), x.input(), y.view, epilogue, problem.threads);

  std::vector<double> expected(static_cast<std::size_t>(problem.tokens * rows));
  const BasicActivations<double> reference{expected.data(), problem.tokens, rows,
                                           Layout::token_major, 0};
  reference_multiply(problem.weight.view(), x.input(), reference, epilogue);
  // A running sum of n products of about 1 grows like sqrt(n), and every step errs by half an ulp
  // of it: about n ulps of 1 where the errors are unlucky.
  const double kept = static_cast<double>(problem.weight.grid->kept());
  const double bound = 3.6e-7 * (std::abs(static_cast<double>(problem.alpha)) + 1) * (kept + 20);
  for (std::int64_t t = 0; t < problem.tokens; ++t)
    for (std::int64_t r = 0; r < rows; ++r)
      ASSERT_NEAR(y.view.at(t, r), reference.at(t, r), bound) << "token " << t << " row " << r;
  EXPECT_TRUE(y.intact());
  EXPECT_TRUE(x.intact());
}

Problem random_problem(Random& random) {
  constexpr Dtype kDtypes[] = {Dtype::f32, Dtype::f16, Dtype::bf16};
  Problem problem;
  RandomWeightOptions options;
  const int rows =
      random_int(random, 0, 8) == 0 ? random_int(random, 0, 3) : random_int(random, 1, 150);
  const int cols =
      random_int(random, 0, 8) == 0 ? random_int(random, 0, 3) : random_int(random, 1, 400);
  if (random_int(random, 0, 3) == 0 && rows > 0) {
    const int cut = random_int(random, 0, rows);
    options.row_segments = {cut, rows - cut};
  }
  if (random_int(random, 0, 3) == 0 && cols > 0) {
    const int cut = random_int(random, 0, cols);
    options.col_segments = {cut, cols - cut};
  }
  options.permuted = random_int(random, 0, 4) == 0;
  problem.weight = random_weight(random, random_pattern(random), rows, cols,
                                 kDtypes[random_int(random, 0, 2)], options);
  constexpr int kTokens[] = {1,  2,  7,  8,  9,  15, 16, 17, 31,  32,
                             33, 47, 48, 49, 63, 64, 65, 80, 100, 129};
  problem.tokens = kTokens[random_int(random, 0, 19)];
  if (random_int(random, 0, 40) == 0) problem.tokens = random_int(random, 250, 330);
  auto layout = [&] {
    return random_int(random, 0, 1) == 0 ? Layout::token_major : Layout::feature_major;
  };
  problem.x_layout = layout();
  problem.y_layout = layout();
  problem.x_gap = random_int(random, 0, 2) == 0 ? random_int(random, 1, 20) : 0;
  problem.y_gap = random_int(random, 0, 2) == 0 ? random_int(random, 1, 20) : 0;
  if (random_int(random, 0, 1) == 0) {
    problem.alpha = random_int(random, 0, 1) == 0 ? 1.0f : -0.75f;
    problem.with_bias = random_int(random, 0, 1) == 0;
    problem.activation = static_cast<Activation>(random_int(random, 0, 4));
  }
  problem.threads = random_int(random, 1, 4);
  return problem;
}

// Runs the body on every target that this machine has.
template <typename Body>
void on_every_target(Body&& body) {
  choose_target();
  const std::int64_t all = hwy::SupportedTargets();
  for (std::int64_t left = all & HWY_TARGETS; left != 0; left &= left - 1) {
    SCOPED_TRACE(hwy::TargetName(left & -left));
    hwy::SetSupportedTargetsForTest(left & -left);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
    body();
  }
  hwy::SetSupportedTargetsForTest(0);
  hwy::GetChosenTarget().Update(hwy::SupportedTargets());
}

TEST(ManyTokens, RandomProblemsOnEveryTarget) {
  on_every_target([] {
    Random random(1);
    for (int i = 0; i < 400 && !testing::Test::HasFatalFailure(); ++i)
      check(random_problem(random), random);
  });
}

// Long rows: several blocks, several chunks, several passes.
TEST(ManyTokens, LargeProblems) {
  Random random(2);
  for (const char* pattern :
       {"dense", "2:4", "4:8", "1:8", "8:32", "200:256", "vw32/8:32", "vw16/1:8", "bw32x32/1:4",
        "bw4x4/8:32", "64:2:8", "64:2:16", "64:3/6:8", "16:20/100:256"}) {
    for (std::int64_t tokens : {64, 300, 520}) {
      Problem problem;
      problem.weight = random_weight(random, Pattern::parse(pattern), 600, 1100,
                                     tokens == 300 ? Dtype::bf16 : Dtype::f32);
      problem.tokens = tokens;
      problem.threads = 2;
      problem.x_layout = problem.y_layout = Layout::feature_major;
      check(problem, random);
    }
  }
}

TEST(ManyTokens, SameBitsForAnyNumberOfThreads) {
  Random random(3);
  for (const char* pattern : {"2:4", "vw32/8:32", "64:2:8"}) {
    const SparseMatrix weight =
        random_weight(random, Pattern::parse(pattern), 640, 700, Dtype::f32);
    const PackedWeight packed(weight.view());
    const std::vector<float> x = random_floats(random, 90 * 700);
    std::vector<float> first(90 * 640), again(90 * 640);
    for (int threads : {1, 2, 3, 8}) {
      many_tokens_multiply(packed.impl(), {x.data(), 90, 700, Layout::token_major, 0},
                           {again.data(), 90, 640, Layout::token_major, 0}, {}, threads);
      if (threads == 1) first = again;
      EXPECT_EQ(std::memcmp(first.data(), again.data(), first.size() * sizeof(float)), 0);
    }
  }
}

// A NaN in x reaches exactly the outputs whose rows keep its column, and no other token.
TEST(ManyTokens, NanStaysInItsColumnAndToken) {
  Random random(4);
  for (const char* pattern : {"2:4", "vw32/8:32", "64:2:8", "bw4x4/2:4", "3:20"}) {
    const SparseMatrix weight = random_weight(random, Pattern::parse(pattern), 90, 83, Dtype::f32);
    const Mask kept = stored_mask(weight.view());
    const PackedWeight packed(weight.view());
    std::vector<float> x = random_floats(random, 37 * 83), y(37 * 90);
    constexpr std::int64_t kToken = 35, kCol = 82;
    x[kToken * 83 + kCol] = std::numeric_limits<float>::quiet_NaN();
    many_tokens_multiply(packed.impl(), {x.data(), 37, 83, Layout::token_major, 0},
                         {y.data(), 37, 90, Layout::token_major, 0}, {}, 1);
    for (std::int64_t t = 0; t < 37; ++t)
      for (std::int64_t r = 0; r < 90; ++r)
        EXPECT_EQ(std::isnan(y[static_cast<std::size_t>(t * 90 + r)]),
                  t == kToken && kept.get(r, kCol))
            << pattern << " token " << t << " row " << r;
  }
}

TEST(ManyTokensPlan, PassesCoverAllTokensOnce) {
  for (std::int64_t tokens : {0, 1, 15, 16, 17, 63, 64, 65, 255, 256, 257, 300, 512, 513, 4096}) {
    std::int64_t next = 0;
    for (const TokenPass& pass : token_passes(tokens)) {
      EXPECT_EQ(pass.token, next);
      EXPECT_GE(pass.tokens, 1);
      EXPECT_LE(pass.tokens, kMaxPassTokens);
      EXPECT_LE(pass.pitch, kMaxPitch);
      EXPECT_GE(pass.pitch * pass.token_panels(), pass.tokens);
      next += pass.tokens;
    }
    EXPECT_EQ(next, tokens);
  }
}

TEST(ManyTokensPlan, BlocksCoverAllSlotsAndReachEveryWindow) {
  Random random(5);
  for (int i = 0; i < 300; ++i) {
    const SparseMatrix weight =
        random_weight(random, random_pattern(random), 40, random_int(random, 1, 3000), Dtype::f32);
    const PackedLayout layout = packed_layout(*weight.grid, Dtype::f32);
    const auto windows = slot_windows(layout);
    const int pitch = 16 * random_int(random, 1, 4);
    std::int64_t next = 0;
    for (const SlotBlock& block : slot_blocks(layout, windows, pitch)) {
      EXPECT_EQ(block.slot, next);
      EXPECT_LE(block.slots, kMaxBlockSlots);
      EXPECT_LE(block.positions + 16, kMaxBlockPositions);
      EXPECT_LE(block.position + block.positions, layout.x_length);
      next += block.slots;
    }
    EXPECT_EQ(next, layout.slots);
  }
}

}  // namespace
}  // namespace coppice::cpu
