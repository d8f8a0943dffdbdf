// Selection: every supported case has a kernel of its own, none is left to the reference.
#include "cpu/select.h"

#include <gtest/gtest.h>

#include "coppice/error.h"
#include "cpu/few_tokens.h"
#include "cpu/random_weight.h"
#include "cpu/targets.h"

namespace coppice::cpu {
namespace {

constexpr Dtype kDtypes[] = {Dtype::f32, Dtype::f16, Dtype::bf16};

PanelKernel few_tokens_kernel(const KernelChoice& choice, bool narrow) {
  const PanelKernelKey key{choice.format, choice.window, choice.token_tile, narrow};
  if (choice.dtype == Dtype::f32) return f32_panel_kernel(key);
  return choice.dtype == Dtype::f16 ? f16_panel_kernel(key) : bf16_panel_kernel(key);
}

TEST(Select, FindsAKernelForEveryPattern) {
  for_each_target([] {
    Random random(1);
    for (int trial = 0; trial < 2000; ++trial) {
      const Pattern pattern = random_pattern(random);
      const WeightShape shape{random_int(random, 0, 300), random_int(random, 0, 900), {}, {}};
      for (Dtype dtype : kDtypes) {
        for (std::int64_t tokens : {1, 2, 3, 7, 8, 9, 12, 16, 33, 100, 4096, 4097}) {
          const KernelChoice choice = select_kernel(pattern, shape, dtype, tokens, target_name());
          ASSERT_EQ(to_string(choice).find("reference"), std::string::npos);
          if (choice.family == KernelFamily::many_tokens && choice.rest_tokens == 0) continue;
          ASSERT_TRUE(few_tokens_kernel(choice, true) && few_tokens_kernel(choice, false))
              << pattern.to_string() << " " << to_string(choice);
        }
      }
    }
  });
}

TEST(Select, NamesItsKernel) {
  auto name = [](const char* pattern, Dtype dtype, std::int64_t tokens) {
    return to_string(
        select_kernel(Pattern::parse(pattern), {64, 512, {}, {}}, dtype, tokens, "AVX3"));
  };
  EXPECT_EQ(name("2:4", Dtype::bf16, 1), "few-tokens/window4/bf16/tile1");
  EXPECT_EQ(name("8:32", Dtype::f32, 3), "few-tokens/window32/fp32/tile4");
  EXPECT_EQ(name("vw4/8:32", Dtype::f32, 1), "few-tokens/window32/fp32/tile1");
  EXPECT_EQ(name("vw32/8:32", Dtype::f16, 2), "few-tokens/shared/fp16/tile2");
  EXPECT_EQ(name("64:2:8", Dtype::bf16, 8), "few-tokens/window4/bf16/tile8");
  EXPECT_EQ(name("dense", Dtype::bf16, 1), "few-tokens/shared/bf16/tile1");
  EXPECT_EQ(name("vw32/8:32", Dtype::f32, 256), "many-tokens/shared/fp32");
  EXPECT_EQ(name("64:2:8", Dtype::bf16, 256), "many-tokens/window4/bf16");
  EXPECT_EQ(name("2:4", Dtype::f32, 24), "few-tokens/window4/fp32/tile8");
  EXPECT_EQ(name("2:4", Dtype::f32, 33), "many-tokens/window4/fp32+tile1");
  EXPECT_EQ(name("2:4", Dtype::f32, 41), "many-tokens/window4/fp32");
}

TEST(Select, RefusesOtherDtypes) {
  EXPECT_THROW(select_kernel(Pattern::parse("2:4"), {4, 4, {}, {}}, Dtype::i8, 1, "AVX3"),
               InvalidArgument);
}

TEST(Select, KernelNameTellsTheTarget) {
  Random random(2);
  const SparseMatrix weight = random_weight(random, Pattern::parse("4:8"), 16, 16, Dtype::bf16);
  EXPECT_EQ(kernel_name(PackedWeight(weight.view()), 1),
            "few-tokens/window8/bf16/tile1 (" + std::string(target_name()) + ")");
}

}  // namespace
}  // namespace coppice::cpu
