// What a kernel that expands its weight to 2:4 in registers multiplies by, followed on the host
// from the packed order, register by register: it is the weight.
#include <gtest/gtest.h>

#include <bit>
#include <cstring>
#include <set>
#include <string>
#include <vector>

#include "cpu/random_weight.h"
#include "cuda/host_pack.h"
#include "cuda/kernels/expand_ordered_layout.h"

namespace coppice::cuda {
namespace {

using cpu::Random;

constexpr int kGroups[] = {5, 6, 7, 8};

TEST(ExpandLayout, SlotsHoldColumnsOfTheirStep) {
  for (int group : kGroups) {
    const expand::Parts parts = expand::parts(expand::form_of(group));
    const int quads = parts.count * parts.lane_quads();
    std::set<int> seen;
    for (int t = 0; t < expand::kLanes; ++t)
      for (int n = 0; n < quads; ++n)
        for (int j = 0; j < 4; ++j) seen.insert(expand::quad_column_of(group, n, t) + j);
    EXPECT_EQ(seen.size(), static_cast<std::size_t>(kStepQuads * group)) << "every column is there";
    EXPECT_EQ(*seen.begin(), 0);
    EXPECT_EQ(*seen.rbegin(), kStepQuads * group - 1) << "and none of the next step";
    EXPECT_EQ(quads * expand::kLanes * 4, parts.count * parts.slots());
  }
}

TEST(ExpandLayout, PairsAndCodesAreToldApart) {
  std::set<std::uint32_t> indices, codes;
  for (int x = 0; x < 3; ++x)
    for (int y = x + 1; y < 4; ++y) indices.insert(expand::pair_index(pair_bits(x, y)));
  EXPECT_EQ(indices.size(), 6u);
  for (int x = 0; x < 7; ++x)
    for (int y = x + 1; y < 8; ++y) codes.insert(expand::pair_code(x, y));
  EXPECT_EQ(codes.size(), 28u);
  EXPECT_LT(*codes.rbegin(), static_cast<std::uint32_t>(expand::kCodes));
}

/// The values of one row and step as they come to lie in slots.
class RowSlots {
 public:
  explicit RowSlots(int group) : group_(group), tables_(expand::tables(group)) {}

  /// Window `w` of lane `t`, as kernels make registers of it.
  void add(int t, int w, std::uint32_t mask, std::uint32_t pair, const std::uint16_t* values) {
    const auto turn = static_cast<int>(expand::kCodeBits * expand::pair_index(pair));
    const std::uint32_t code = std::rotr(tables_.codes[mask], turn) >> 2 & (expand::kCodes - 1);
    const std::size_t second = group_ == 5 && w % 2 != 0 ? expand::kCodes : 0;
    const std::uint32_t entry = tables_.entries[second + code];
    const std::uint32_t halves = entry & 0xFFFF, metadata = entry >> 16;
    if (group_ == 5) {
      const int own = w / 2 * 3 + (w % 2 == 0 ? 0 : 2), middle = w / 2 * 3 + 1;
      store(t, own, halves & 0xFF, metadata & 15, values);
      store(t, middle, halves >> 8, metadata >> (w % 2 == 0 ? 4 : 8) & 15, values);
      EXPECT_EQ(metadata >> 12, metadata & 15) << "the own quad's, at two places";
    } else {
      store(t, 2 * w, halves & 0xFF, metadata & 15, values);
      store(t, 2 * w + 1, halves >> 8, metadata >> 4 & 15, values);
    }
  }
  std::uint16_t value(int t, int n, int j) const { return values_[t][n][j]; }

 private:
  void store(int t, int n, std::uint32_t halves, std::uint32_t pair, const std::uint16_t* values) {
    const std::uint32_t places[2] = {pair & 3, pair >> 2};
    ASSERT_LT(places[0], places[1]) << "the hardware wants ascending, distinct places";
    for (int i = 0; i < 2; ++i) {
      const std::uint32_t half = halves >> (4 * i) & 15;
      if (half == expand::kZero) continue;
      ASSERT_TRUE(half == expand::kFirst || half == expand::kSecond);
      std::uint16_t& place = values_[t][n][places[i]];
      if (values[half] == 0) continue;
      EXPECT_EQ(place, 0) << "one value a slot";
      place = values[half];
    }
  }
  int group_;
  expand::Tables tables_;
  std::uint16_t values_[expand::kLanes][8][4] = {};
};

void check(const Pattern& pattern, std::int64_t rows, std::int64_t cols) {
  SCOPED_TRACE(pattern.to_string() + " " + std::to_string(rows) + "x" + std::to_string(cols));
  Random random(static_cast<std::uint64_t>(rows * 1000 + cols));
  const SparseMatrix weight = cpu::random_weight(random, pattern, rows, cols, Dtype::f16);
  const HostPack pack = pack_on_host(weight.view(), 2);
  std::vector<std::uint16_t> want(static_cast<std::size_t>(rows * cols));
  decompress(weight.view(), {reinterpret_cast<std::byte*>(want.data()), Dtype::f16, rows, cols, 0});
  ASSERT_EQ(pack.plan.quad_bytes, 1);
  const int group = pattern.group, steps = static_cast<int>(pack.plan.steps);
  const expand::Parts parts = expand::parts(expand::form_of(group));
  std::vector<std::uint16_t> got(want.size());
  for (std::size_t padded = 0; padded < pack.plan.units.size() * kUnitRows; ++padded) {
    const RowUnit& unit = pack.plan.units[padded / kUnitRows];
    const int r = static_cast<int>(padded % kUnitRows), block_row = padded % kBlockRows;
    for (int step = 0; step < steps; ++step) {
      const std::byte* record = pack.record(padded, step);
      RowSlots slots(group);
      for (int window = 0; window < kStepQuads; ++window) {
        const MetadataPlace at = metadata_place(block_row, window);
        std::uint32_t word;
        std::memcpy(&word, record + kValueBytes + at.word * 4, 4);
        std::uint16_t values[2];
        std::memcpy(values, record + value_byte(block_row, 2 * window), 4);
        const auto mask = static_cast<std::uint32_t>(pack.columns[static_cast<std::size_t>(
            (unit.vector * steps + step) * kStepQuads + window)]);
        slots.add(window / expand::kLaneWindows, window % expand::kLaneWindows, mask,
                  word >> at.shift & 15, values);
      }
      for (int t = 0; t < expand::kLanes; ++t)
        for (int n = 0; n < parts.count * parts.lane_quads(); ++n)
          for (int j = 0; j < 4; ++j) {
            const std::uint16_t value = slots.value(t, n, j);
            if (value == 0) continue;
            const std::int64_t col =
                step * kStepQuads * group + expand::quad_column_of(group, n, t) + j;
            ASSERT_LT(col, cols);
            ASSERT_LT(r, unit.rows);
            std::uint16_t& place = got[static_cast<std::size_t>((unit.row + r) * cols + col)];
            EXPECT_EQ(place, 0) << "a column is multiplied once";
            place = value;
          }
    }
  }
  for (std::uint16_t& value : want)
    if (value == 0x8000) value = 0;  // -0 is no value
  EXPECT_EQ(got, want);
}

TEST(ExpandLayout, RegistersHoldTheWeight) {
  for (int group : kGroups)
    for (int vec_rows : {2, 8, 16, 24, 32, 64, 128})
      for (std::int64_t rows : {1, 40, 150})
        for (std::int64_t cols : {1, 2, 3, 4, 9, 80, 128, 333})
          check(Pattern::make(vec_rows, 1, 4, group, 2), rows, cols);
}

}  // namespace
}  // namespace coppice::cuda
