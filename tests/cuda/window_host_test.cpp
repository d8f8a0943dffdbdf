// The index arithmetic of the window kernels, followed on the host: what ldmatrix and mma would
// give is the product.
#include <gtest/gtest.h>

#include <set>

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

}  // namespace
}  // namespace coppice::cuda
