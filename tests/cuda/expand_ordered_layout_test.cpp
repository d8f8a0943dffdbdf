// What a kernel that expands a V:2:16 weight in registers multiplies by, followed on the host from
// the packed order, lane by lane: it is the weight.
#include "cuda/kernels/expand_ordered_layout.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "cpu/random_weight.h"
#include "cuda/host_pack.h"

namespace coppice::cuda {
namespace {

using cpu::Random;

TEST(ExpandOrderedLayout, IndicesNamePairs) {
  for (int x = 0; x < 3; ++x)
    for (int y = x + 1; y < 4; ++y) {
      const std::uint32_t index = expand::pair_index(pair_bits(x, y));
      EXPECT_GT(index, 0u);
      EXPECT_LT(index, static_cast<std::uint32_t>(expand::kPairs));
    }
}

/// All ways of a window, as the producer of a kernel makes them.
expand::WindowWays ways_of(std::uint32_t list) {
  static const expand::OrderedTables tables = expand::ordered_tables();
  expand::WindowWays ways = {};
  int place[4];
  for (int i = 0; i < 4; ++i) {
    place[i] = static_cast<int>(list >> 4 * i & 15);
    if (i > 0) place[i] = std::max(place[i], place[i - 1] + 1);
  }
  for (int x = 0; x < 3; ++x)
    for (int y = x + 1; y < 4; ++y) {
      const expand::Share& first = tables.shares[0][place[x]];
      const expand::Share& second = tables.shares[1][place[y]];
      const std::uint32_t index = expand::pair_index(pair_bits(x, y));
      for (int quad = 0; quad < expand::kWindowQuads; ++quad)
        ways.selectors[index][quad] = static_cast<std::uint16_t>(
            (first.selectors[quad / 2] ^ second.selectors[quad / 2]) >> 16 * (quad % 2));
      ways.metadata[index] = static_cast<std::uint16_t>(first.metadata ^ second.metadata);
    }
  return ways;
}

/// Byte `selector` of a word, then of zero, as prmt takes it.
std::uint32_t selected(std::uint32_t word, std::uint32_t selector) {
  EXPECT_LT(selector, 8u);
  return selector < 4 ? word >> 8 * selector & 255 : 0;
}

/// The two values of a quad's register, and the places that its metadata says.
void store_quad(std::uint32_t word, std::uint32_t selectors, std::uint32_t pair,
                std::uint16_t* slots) {
  const std::uint32_t places[2] = {pair & 3, pair >> 2};
  ASSERT_LT(places[0], places[1]) << "the hardware wants ascending, distinct places";
  for (int i = 0; i < 2; ++i) {
    const std::uint32_t half = selectors >> 8 * i;
    const std::uint32_t value = selected(word, half & 15) | selected(word, half >> 4 & 15) << 8;
    slots[places[i]] = static_cast<std::uint16_t>(value);
  }
}

// What a row whose pair of bits and word of values are given takes of a window.
void store_window(std::uint16_t list, std::uint32_t pair, std::uint32_t values,
                  std::uint16_t (&slots)[expand::kOrderedGroup]) {
  const expand::WindowWays ways = ways_of(list);
  const std::uint32_t index = expand::pair_index(pair);
  for (int quad = 0; quad < expand::kWindowQuads; ++quad)
    store_quad(values, ways.selectors[index][quad], ways.metadata[index] >> 4 * quad & 15,
               slots + 4 * quad);
}

void check(const Pattern& pattern, std::int64_t rows, std::int64_t cols) {
  SCOPED_TRACE(pattern.to_string() + " " + std::to_string(rows) + "x" + std::to_string(cols));
  Random random(static_cast<std::uint64_t>(rows * 1000 + cols));
  const SparseMatrix weight = cpu::random_weight(random, pattern, rows, cols, Dtype::f16);
  const HostPack pack = pack_on_host(weight.view(), 2);
  std::vector<std::uint16_t> want(static_cast<std::size_t>(rows * cols));
  decompress(weight.view(), {reinterpret_cast<std::byte*>(want.data()), Dtype::f16, rows, cols, 0});
  ASSERT_EQ(pack.plan.quad_bytes, 2);
  const int steps = static_cast<int>(pack.plan.steps);
  std::vector<std::uint16_t> got(want.size());
  for (std::size_t padded = 0; padded < pack.plan.units.size() * kUnitRows; ++padded) {
    const RowUnit& unit = pack.plan.units[padded / kUnitRows];
    const int r = static_cast<int>(padded % kUnitRows), block_row = padded % kBlockRows;
    for (int step = 0; step < steps; ++step) {
      const std::byte* record = pack.record(padded, step);
      for (int window = 0; window < kStepQuads; ++window) {
        const MetadataPlace at = metadata_place(block_row, window);
        std::uint32_t word, values;
        std::uint16_t list, slots[expand::kOrderedGroup] = {};
        std::memcpy(&word, record + kValueBytes + at.word * 4, 4);
        std::memcpy(&values, record + value_byte(block_row, 2 * window), 4);
        std::memcpy(&list,
                    pack.columns.data() + 2 * ((unit.vector * steps + step) * kStepQuads + window),
                    2);
        store_window(list, word >> at.shift & 15, values, slots);
        for (int j = 0; j < expand::kOrderedGroup; ++j) {
          if (slots[j] == 0) continue;
          const std::int64_t col = (step * kStepQuads + window) * expand::kOrderedGroup + j;
          ASSERT_LT(col, cols);
          ASSERT_LT(r, unit.rows);
          got[static_cast<std::size_t>((unit.row + r) * cols + col)] = slots[j];
        }
      }
    }
  }
  EXPECT_EQ(got, want);
}

TEST(ExpandOrderedLayout, RegistersHoldTheWeight) {
  for (int vec_rows : {2, 8, 16, 24, 32, 64, 128})
    for (std::int64_t rows : {1, 40, 150})
      for (std::int64_t cols : {1, 2, 3, 4, 9, 17, 80, 256, 333})
        check(Pattern::make(vec_rows, 1, 4, expand::kOrderedGroup, 2), rows, cols);
}

}  // namespace
}  // namespace coppice::cuda
