// How products of fragments with activations in registers are divided, and where things are in
// their shared memory.
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "cpu/random_weight.h"
#include "cuda/element/element_plan.h"
#include "cuda/element/held_config.h"
#include "cuda/element/lookup_walk.h"

namespace coppice::cuda {
namespace {

using cpu::Random;
using cpu::random_int;

ElementPlan plan_of(const char* pattern, std::int64_t rows, std::int64_t cols) {
  return plan_element(Grid(Pattern::parse(pattern), {rows, cols, {}, {}}), Dtype::f16, false);
}

// As the kernel walks: every slot of every unit belongs to one warp, whose slice it lies in.
void expect_walks(const HeldConfig& config, const ElementLayout& l, const ElementSplit& s) {
  const int slots = held_slots(config, l);
  std::vector<int> seen(static_cast<std::size_t>(l.units() * slots));
  for (int tile = 0; tile < s.tiles; ++tile)
    for (int rank = 0; rank < s.ranks; ++rank)
      for (int warp = 0; warp < s.warps(); ++warp) {
        LookupWalk walk(s, l.units(), slots, rank, tile, warp);
        for (int pass = 0; pass < held_passes(s); ++pass) {
          EXPECT_LE(walk.end - walk.now, config.slice_slots());
          EXPECT_TRUE(walk.now >= walk.end || walk.now % config.slice_slots() == 0);
          for (; walk.here(); walk.next())
            ++seen[static_cast<std::size_t>(walk.part * slots + walk.now)];
          walk.next_pass();
        }
        EXPECT_FALSE(walk.to_item());
      }
  EXPECT_EQ(std::ranges::count(seen, 1), std::ssize(seen));
}

// Columns that are added up first, and those of a rank, are the same for both tiles.
void expect_same_sums(const HeldConfig& config, const ElementSplit& s, const HeldConfig& first,
                      const ElementSplit& of_first) {
  const int columns = s.rank_chunks * config.slot_columns();
  const int others = of_first.rank_chunks * first.slot_columns();
  EXPECT_EQ(s.ranks, of_first.ranks);
  if (s.ranks > 1) {
    EXPECT_EQ(columns, others);
    EXPECT_EQ(columns % kHeldSumColumns, 0);
  }
  // A pass has whole sums, if there are several.
  if (held_passes(s) > 1) {
    EXPECT_EQ(s.chunk_warps % config.sum_slices(), 0);
  }
}

TEST(Held, DividesEverySlotOnceAndFits) {
  Random random(20261122);
  for (int i = 0; i < 60 && !HasFailure(); ++i)
    for (const char* pattern : {"2:8", "4:8", "2:16"}) {
      const bool few = i % 2 == 0;
      const ElementPlan plan = plan_of(pattern, random_int(random, 1, few ? 300 : 30000),
                                       random_int(random, 1, few ? 40000 : 9000));
      const int form = fragment_form(plan.layout, false);
      ASSERT_TRUE(takes_held(plan.layout, form)) << pattern;
      const HeldConfig first = held_config(form, kHeldTiles[0]);
      const ElementSplit of_first = split_held(first, plan.layout, 132, 227 * 1024);
      for (const int tokens : kHeldTiles) {
        const HeldConfig config = held_config(form, tokens);
        const ElementSplit s = split_held(config, plan.layout, 132, 227 * 1024);
        EXPECT_EQ(s.warps(), kHeldWarps);
        const int stages = held_stages(config, s);
        ASSERT_GE(stages, 2);
        const HeldPlaces at = held_places(config, s, stages);
        EXPECT_LE(2 * (at.bytes + 1024), 228u * 1024) << "two thread blocks on a multiprocessor";
        EXPECT_EQ(at.slots % 128, 0u);
        expect_walks(config, plan.layout, s);
        expect_same_sums(config, s, first, of_first);
      }
    }
}

TEST(Held, SlotsBringTheWordsOfTheirChoices) {
  for (int form = 0; form < kExpandedForms; ++form)
    for (const int tokens : kHeldTiles) {
      const HeldConfig config = held_config(form, tokens);
      EXPECT_EQ(config.slice_columns() * config.tokens() * 2, 8192);
      EXPECT_EQ(config.slice_columns() % config.slot_columns(), 0);
      EXPECT_LE(2 * config.choice_bytes(), 32 * kPieceBytes) << "a copy of 16 bytes a lane";
      for (int slot = 0; slot < 9; ++slot) {
        const int bits = config.slot_bits(), word = slot * bits / 32;
        EXPECT_LE((slot + 1) * bits, (word + config.slot_words()) * 32);
      }
    }
}

TEST(Held, TakesWhatHasChoicesOfItsOwnInEveryRow) {
  const auto takes = [](const char* pattern, Dtype dtype) {
    const Grid grid(Pattern::parse(pattern), {4096, 4096, {}, {}});
    const ElementPlan plan = plan_element(grid, dtype, false);
    return takes_held(plan.layout, fragment_form(plan.layout, plan.shares_vectors()));
  };
  for (const char* pattern : {"2:8", "4:8", "2:16"}) {
    EXPECT_TRUE(takes(pattern, Dtype::bf16)) << pattern;
    EXPECT_FALSE(takes(pattern, Dtype::f32)) << pattern;
  }
  for (const char* pattern : {"1:4", "8:32", "vw4/2:8", "vw32/8:32", "bw2x2/2:4"})
    EXPECT_FALSE(takes(pattern, Dtype::f16)) << pattern;
}

}  // namespace
}  // namespace coppice::cuda
