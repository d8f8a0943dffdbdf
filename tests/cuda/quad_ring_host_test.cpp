// How products of quads by rings are divided, and where things are in their shared memory.
#include <gtest/gtest.h>

#include <algorithm>

#include "cpu/random_weight.h"
#include "cuda/element/element_plan.h"
#include "cuda/element/quad_ring_plan.h"

namespace coppice::cuda {
namespace {

using cpu::Random;
using cpu::random_int;

ElementLayout layout_of(const char* pattern, std::int64_t rows, std::int64_t cols) {
  WeightShape shape;
  shape.rows = rows, shape.cols = cols;
  return plan_element(Grid(Pattern::parse(pattern), shape), Dtype::f16, false).layout;
}

TEST(QuadRing, SlotsBringTheWordsOfTheirCodes) {
  for (const QuadForm& form : kQuadForms)
    for (int slot = 0; slot < 9; ++slot) {
      const int first = slot_bit(form, slot) / 32, last = first + slot_words(form);
      EXPECT_LE(32 * first, slot_bit(form, slot));
      EXPECT_GE(32 * last, slot_bit(form, slot + 1));
      EXPECT_EQ(slot_blocks(form) % kQuadStageBlocks, 0);
    }
}

// Every slot of every row has one warp, and what a thread block needs fits.
void check_split(const ElementLayout& l, const QuadSplit& s, int tokens) {
  const QuadForm& form = kQuadForms[static_cast<std::size_t>(quad_form(l))];
  EXPECT_GE(s.units, 1);
  EXPECT_LE(s.warps(), kMostQuadWarps);
  EXPECT_LE(s.ranks, 8);
  EXPECT_GE(s.part_slots * s.ranks * s.groups, quad_slots(l));
  const QuadRingPlaces at = quad_ring_places(form, tokens, s);
  EXPECT_GE(at.slots, 1);
  EXPECT_GE(at.stages, kLeastQuadStages);
  EXPECT_EQ(at.table % 1024, 0);
  EXPECT_LE(at.slot_barriers + s.groups * s.units * at.slots * 8, at.ring);
  EXPECT_EQ(at.ring % 128, 0);
  EXPECT_GE(at.bytes, at.ring + s.groups * s.units * at.slots * slot_bytes(form));
  EXPECT_GE(at.bytes, quad_sum_bytes(s, tokens));
  EXPECT_LE(at.bytes, 227 * 1024);
}

TEST(QuadRing, DivisionsCoverTheWeightAndFit) {
  Random random(20261122);
  for (int i = 0; i < 300; ++i)
    for (const char* pattern : {"2:8", "1:4", "2:16", "vw4/2:8"}) {
      const ElementLayout l = layout_of(pattern, random_int(random, 1, i % 2 == 0 ? 400 : 40000),
                                        random_int(random, 1, i % 3 == 0 ? 700 : 20000));
      for (const int tokens : kQuadRingTiles)
        check_split(l, split_quad_rings(l, tokens, random_int(random, 1, 5), 132), tokens);
      if (HasFailure()) return;
    }
}

// H200: one round of thread blocks, on nearly every multiprocessor.
TEST(QuadRing, DivisionsFillTheDevice) {
  struct Case {
    std::int64_t rows, cols;
    int tokens;
  };
  for (const Case& c : {Case{28672, 8192, 64}, Case{14336, 4096, 48}, Case{4096, 4096, 128},
                        Case{12288, 12288, 96}, Case{4096, 14336, 64}}) {
    const ElementLayout l = layout_of("2:8", c.rows, c.cols);
    const QuadSplit s = split_quad_rings(l, c.tokens, 1, 132);
    const int blocks = (l.units() + s.units - 1) / s.units * s.ranks;
    EXPECT_LE(blocks, 132) << c.rows;
    EXPECT_GE(blocks, 106) << c.rows;
  }
}

// Sums of all parts have a place of their own in one of the thread blocks.
TEST(QuadRing, SumsHaveRoom) {
  for (int units = 1; units <= 16; ++units)
    for (int ranks = 1; ranks <= 8; ++ranks)
      for (const int tokens : kQuadRingTiles) {
        const QuadSplit s{.units = units, .groups = 1, .ranks = ranks, .part_slots = 1};
        const int parts = units * ((tokens + 31) / 32);
        const int last = ((parts - 1) / ranks * ranks + ranks - 1) * kPartFragmentsMost;
        EXPECT_GE(quad_sum_bytes(s, tokens), (last + kPartFragmentsMost) * 512);
      }
}

}  // namespace
}  // namespace coppice::cuda
