// The index arithmetic of the window kernels, followed on the host: what ldmatrix and mma would
// give is the product.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <set>
#include <vector>

#include "cuda/window/ring_layout.h"
#include "cuda/window/window_layout.h"

namespace coppice::cuda {
namespace {

// Bytes of a stage: 16 bytes number c of row r hold 16 * r + c.
template <int kTokens>
void check_rows(bool folds) {
  const int chunks = kTokens / 8, rows = 64;
  std::set<std::uint32_t> used;
  for (std::uint32_t r = 0; r < rows; ++r)
    for (int c = 0; c < chunks; ++c) {
      const std::uint32_t at = window_row<kTokens>(r, folds) ^ static_cast<std::uint32_t>(16 * c);
      EXPECT_EQ(at % 16, 0u);
      EXPECT_EQ(at / (2 * kTokens), r) << "stays in its row";
      EXPECT_TRUE(used.insert(at).second);
    }
  // Rows that differ modulo 8 are in different banks; with runs of 8 columns, so are the same
  // columns of four runs in order.
  for (int c = 0; c < chunks; ++c)
    for (std::uint32_t first = 0; first + 8 <= rows; first += 8) {
      std::set<std::uint32_t> banks;
      for (std::uint32_t i = 0; i < 8; ++i) {
        const std::uint32_t r = folds ? i / 2 * 8 + i % 2 + first % 32 / 8 * 2 : first + i;
        banks.insert((window_row<kTokens>(r, folds) ^ static_cast<std::uint32_t>(16 * c)) % 128);
      }
      EXPECT_EQ(banks.size(), 8u);
    }
}

TEST(WindowLayout, RowsLieInAllBanks) {
  for (const bool folds : {false, true}) {
    check_rows<32>(folds);
    check_rows<64>(folds);
  }
}

// The copy engine's swizzle of 128 and 64 bytes: bits 4 to 6 (5) ^ bits 7 to 9 (8).
TEST(WindowLayout, RowsLieAsTheCopyEngineWritesThem) {
  for (std::uint32_t r = 0; r < 64; ++r) {
    EXPECT_EQ(window_row<64>(r, false), r * 128 ^ (r * 128 >> 7 & 7u) << 4);
    EXPECT_EQ(window_row<32>(r, false), r * 64 ^ (r * 64 >> 7 & 3u) << 4);
  }
}

// A piece: row g of the weight has 8 values in each lane 4g + t. B of step s has, at places 2t,
// 2t + 1, 2t + 8 and 2t + 9, the four values from 4s on; A the row of activations whose address the
// lane number `place` of a matrix gives.
TEST(WindowLayout, PlacesOfActivationsAreThoseOfTheValues) {
  std::set<int> seen;
  for (int step = 0; step < 2; ++step)
    for (int k = 0; k < 16; ++k) {
      const int t = k % 8 / 2, entry = 4 * step + k / 8 * 2 + k % 2;  // of mma: k and its register
      const int slot = 8 * t + entry;                                 // list_slot of a piece
      // Matrices 0 and 1 are places 0 to 7, 2 and 3 the others; 1 and 3 have tokens 8 to 15.
      for (int matrix : {k / 8 * 2, k / 8 * 2 + 1}) {
        const int lane = 8 * matrix + k % 8;
        EXPECT_EQ(window_slot(lane, step), slot);
        EXPECT_EQ(window_token_byte(lane), matrix % 2 * 16u);
      }
      seen.insert(slot);
    }
  EXPECT_EQ(seen.size(), 32u);
}

ElementLayout regular_list(int kept, int group, int block_cols, int run, int cols) {
  ElementLayout l;
  l.form = ChoiceForm::list;
  l.rows = 256;
  l.vec_rows = 32;
  l.cols = cols;
  l.kept = kept;
  l.group = group;
  l.block_cols = block_cols;
  l.run = run;
  l.groups = cols / l.group_cols();
  l.slots = l.groups * l.group_entries();
  l.pieces = (l.slots + 31) / 32;
  l.entries = l.pieces * 8;
  return l;
}

// Any two columns of a window have rows of their own, the copy engine's: dimensions of 2 columns,
// 4 that are 2^shift apart, those between, and the rest.
TEST(RingLayout, RowsAreInTheOrderOfTheCopyEngine) {
  for (int shift = 1; shift <= kRingMostShift; ++shift) {
    const int apart = 1 << shift;
    std::uint32_t row = 0;
    for (int rest = 0; rest < 2; ++rest)
      for (int between = 0; between < apart / 2; ++between)
        for (int middle = 0; middle < 4; ++middle)
          for (int low = 0; low < 2; ++low, ++row) {
            const int column = low + 2 * between + apart * middle + 4 * apart * rest;
            EXPECT_EQ(ring_row(static_cast<std::uint32_t>(column), shift), row);
          }
  }
}

TEST(RingLayout, CodesOfTwoColumnsAreThoseOfEach) {
  for (int shift = 1; shift <= kRingMostShift; ++shift)
    for (std::uint32_t a = 0; a < kRingMostPieceColumns; a += 7)
      for (std::uint32_t b = 0; b < kRingMostPieceColumns; b += 13) {
        const std::uint32_t codes = ring_codes(b << 16 | a, shift);
        EXPECT_EQ(codes & 0xFFFF, ring_code(ring_row(a, shift)));
        EXPECT_EQ(codes >> 16, ring_code(ring_row(b, shift)));
        // As the swizzle of 128 bytes writes it: bits 4 to 6 ^ bits 7 to 9.
        EXPECT_EQ(codes & 0x7F, (ring_row(a, shift) & 7) << 4);
      }
}

TEST(RingLayout, WindowsHaveTheColumnsOfTheirPieces) {
  const std::vector<ElementLayout> lists = {
      regular_list(8, 32, 1, 1, 4096), regular_list(16, 32, 1, 1, 4096),
      regular_list(4, 32, 1, 1, 4096), regular_list(3, 32, 1, 1, 4096),
      regular_list(5, 16, 1, 1, 1024), regular_list(2, 8, 4, 4, 1024)};
  for (const ElementLayout& l : lists) {
    const RingWindow w = ring_window(l);
    ASSERT_GT(w.columns, 0);
    EXPECT_EQ(w.columns % w.mixed(), 0);
    EXPECT_EQ(l.cols % w.mixed(), 0);
    for (int piece = 0; piece < l.pieces; ++piece) {
      const int first = ring_first(l, piece) / w.mixed() * w.mixed();
      for (int slot = piece * 32; slot < std::min(l.slots, piece * 32 + 32); ++slot) {
        const int group = slot / l.group_entries() * l.group_cols();
        EXPECT_LE(first, group);
        EXPECT_GE(first + w.columns, group + l.group_cols());
      }
    }
  }
  EXPECT_EQ(ring_window(regular_list(8, 32, 1, 1, 4096)).shift, 5);
  EXPECT_EQ(ring_window(regular_list(16, 32, 1, 1, 4096)).shift, 4);
  EXPECT_EQ(ring_window(regular_list(4, 32, 1, 1, 4096)).shift, 6);
  EXPECT_EQ(ring_window(regular_list(8, 32, 1, 1, 4096)).columns, 128);
  EXPECT_EQ(ring_window(regular_list(1, 32, 1, 1, 4096)).columns, 0) << "codes have 16 bits";
  EXPECT_EQ(ring_window(regular_list(8, 32, 32, 32, 4096)).columns, 0) << "groups of 1024";
  EXPECT_EQ(ring_window(regular_list(8, 32, 1, 1, 4100 / 32 * 32 + 4)).columns, 0);
}

// Lanes 8i to 8i + 7 read together: two g, four t. Of 8:32 their columns are in four groups.
TEST(RingLayout, ReadsOfGroupsOf32AreFromAllBanks) {
  const int shift = ring_window(regular_list(8, 32, 1, 1, 4096)).shift;
  for (std::uint32_t seed = 0; seed < 1000; ++seed)
    for (std::uint32_t pair = 0; pair < 4; ++pair) {
      std::set<std::uint32_t> banks;
      for (std::uint32_t lane = 0; lane < 8; ++lane) {
        const std::uint32_t column =
            32 * (lane % 4) + (seed * 2654435761u >> (5 * (lane % 4))) % 32;
        const std::uint32_t g = 2 * pair + lane / 4;
        banks.insert((ring_code(ring_row(column, shift)) ^ 16 * g) % 128);
      }
      EXPECT_EQ(banks.size(), 8u);
    }
}

TEST(RingLayout, StagesFitSharedMemory) {
  constexpr int kShared = 232448;
  for (const RingShape& shape : kRingShapes)
    for (int columns = 8; columns <= kRingMostPieceColumns; columns += 8)
      for (const int lists : {1, 2}) {
        const RingStage s = ring_stage(shape, columns, lists, kShared);
        if (s.stages == 0) continue;
        EXPECT_GE(s.stages, 2);
        EXPECT_LE(s.stages, kRingStages);
        EXPECT_LE(s.shared_bytes(), kShared);
        EXPECT_EQ(s.bytes % 1024, 0) << "the swizzle begins anew";
      }
  EXPECT_EQ(ring_stage(RingShape{2}, 128, 1, kShared).stages, 4);
  EXPECT_EQ(ring_stage(RingShape{2}, 512, 1, kShared).stages, 0);
}

}  // namespace
}  // namespace coppice::cuda
