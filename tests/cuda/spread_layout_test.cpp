// What V:2:M becomes as 2:4, followed on the host from the packed order through the steps to the
// columns that the copy engine brings: it is the weight.
#include "cuda/kernels/spread_layout.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <set>
#include <string>
#include <vector>

#include "cpu/random_weight.h"
#include "cuda/host_pack.h"

namespace coppice::cuda {
namespace {

using cpu::Random;

constexpr int kGroups[] = {5, 6, 7};

// A step's rows of activations hold all of its columns, and every slot reads one of these rows.
TEST(SpreadLayout, StepsReadTheirRows) {
  for (const int group : kGroups) {
    std::set<int> columns;
    for (int slot = 0; slot < kStepCols; ++slot) columns.insert(spread::slot_column(group, slot));
    EXPECT_EQ(*columns.begin(), 0);
    EXPECT_EQ(*columns.rbegin() + 1, spread::step_rows(group));
    EXPECT_EQ(std::ssize(columns), spread::step_rows(group));
    EXPECT_GE(spread::step_rows(group), spread::step_cols(group));
    EXPECT_LE(spread::step_rows(group), kStepCols) << "room of a stage";
    EXPECT_EQ(spread::step_windows(group) * group, spread::step_cols(group));
  }
  EXPECT_EQ(spread::step_cols(8), kStepCols);
  EXPECT_EQ(spread::atom_cols(8), 8);
}

/// One row of a weight, from its records.
class PackedRow {
 public:
  PackedRow(const HostPack& pack, int group, std::int64_t cols, std::size_t padded)
      : pack_(pack),
        group_(group),
        windows_(static_cast<int>((cols + group - 1) / group)),
        unit_(pack.plan.units[padded / kUnitRows]),
        block_(padded / kBlockRows),
        row_(static_cast<int>(padded % kBlockRows)) {}
  spread::Kept kept(int window) const {
    if (window >= windows_) return spread::kept_of(0, spread::kNoPair, spread::kNoOffsets);
    const int step = window / kStepQuads, quad = window % kStepQuads;
    const auto steps = static_cast<std::size_t>(pack_.plan.steps);
    const std::byte* record =
        pack_.records.data() + (block_ * steps + static_cast<std::size_t>(step)) * kRecordBytes;
    std::uint32_t word, pairs;
    std::memcpy(&word, record + value_byte(row_, 2 * quad), 4);
    const MetadataPlace at = metadata_place(row_, quad);
    std::memcpy(&pairs, record + kValueBytes + at.word * 4, 4);
    return spread::kept_of(word, pairs >> at.shift & 15, offsets(window));
  }

 private:
  std::uint32_t offsets(int window) const {
    const int bytes = pack_.plan.quad_bytes;
    const auto at =
        static_cast<std::size_t>((unit_.vector * pack_.plan.steps * kStepQuads + window) * bytes);
    std::uint32_t bits = 0, packed = 0;
    std::memcpy(&bits, pack_.columns.data() + at, static_cast<std::size_t>(bytes));
    std::uint32_t next = 0;
    for (int i = 0; i < 4; ++i) {
      const std::uint32_t offset = quad_column(bits, i, 0, bytes, group_, group_);
      packed |= std::max(offset, next) << 8 * i;  // a short window's last ones follow each other
      next = (packed >> 8 * i & 255) + 1;
    }
    return packed;
  }
  const HostPack& pack_;
  int group_, windows_;
  const RowUnit& unit_;
  std::size_t block_;
  int row_;
};

/// The columns of a row, from the quads of its steps.
class DenseRow {
 public:
  explicit DenseRow(std::int64_t cols) : values(static_cast<std::size_t>(cols)) {}
  /// Quad number `quad` of a step that begins at `first_col`.
  void add(int group, const spread::Quad& made, int quad, std::int64_t first_col) {
    const std::uint32_t places[2] = {made.metadata & 3, made.metadata >> 2};
    ASSERT_LT(places[0], places[1]) << "the hardware wants ascending, distinct places";
    for (int i = 0; i < 2; ++i) {
      const auto value = static_cast<std::uint16_t>(made.values >> 16 * i);
      if (value == 0) continue;
      const int slot = 4 * quad + static_cast<int>(places[i]);
      const std::int64_t col =
          first_col + (spread::in_order(group) ? slot : spread::slot_column(group, slot));
      ASSERT_LT(col, std::ssize(values));
      std::uint16_t& place = values[static_cast<std::size_t>(col)];
      EXPECT_EQ(place, 0) << "a column is multiplied once";
      place = value;
    }
  }
  std::vector<std::uint16_t> values;
};

// Quad `quad` of a step whose first window is `first`.
spread::Quad quad_at(const PackedRow& row, int group, int first, int quad) {
  if (group != 5) {
    const int per = (group + 3) / 4;
    return spread::quad_of(row.kept(first + quad / per), static_cast<std::uint32_t>(quad % per));
  }
  const int window = first + quad / 8 * 5;
  const spread::Kept kept[5] = {row.kept(window), row.kept(window + 1), row.kept(window + 2),
                                row.kept(window + 3), row.kept(window + 4)};
  return spread::five_quads(kept).quads[quad % 8];
}

void check(const Pattern& pattern, std::int64_t rows, std::int64_t cols) {
  SCOPED_TRACE(pattern.to_string() + " " + std::to_string(rows) + "x" + std::to_string(cols));
  const int group = pattern.group;
  Random random(static_cast<std::uint64_t>(rows * 1000 + cols));
  const SparseMatrix weight = cpu::random_weight(random, pattern, rows, cols, Dtype::f16);
  const HostPack pack = pack_on_host(weight.view(), 2);
  std::vector<std::uint16_t> want(static_cast<std::size_t>(rows * cols));
  decompress(weight.view(), {reinterpret_cast<std::byte*>(want.data()), Dtype::f16, rows, cols, 0});
  for (std::uint16_t& value : want)
    if (value == 0x8000) value = 0;  // -0 is no value
  // In order: all columns as one step.
  const bool in_order = spread::in_order(group);
  const auto steps = in_order ? 1 : static_cast<int>(spread::steps(group, cols));
  const auto quads = in_order ? static_cast<int>((cols + 3) / 4) : kStepQuads;
  for (std::size_t padded = 0; padded < pack.plan.units.size() * kUnitRows; ++padded) {
    const RowUnit& unit = pack.plan.units[padded / kUnitRows];
    const auto r = static_cast<int>(padded % kUnitRows);
    if (r >= unit.rows) continue;
    const PackedRow packed(pack, group, cols, padded);
    DenseRow row(cols);
    for (int step = 0; step < steps; ++step)
      for (int quad = 0; quad < quads; ++quad)
        row.add(group, quad_at(packed, group, step * spread::step_windows(group), quad), quad,
                std::int64_t{step} * spread::step_cols(group));
    const auto* expected = want.data() + (unit.row + r) * cols;
    EXPECT_EQ(row.values, std::vector<std::uint16_t>(expected, expected + cols));
  }
}

TEST(SpreadLayout, QuadsHoldTheWeight) {
  for (const int group : {5, 6, 7, 8, 12, 16, 20, 64, 100, 256}) {
    ASSERT_TRUE(spread::can_spread(group));
    for (const int vec_rows : {2, 16, 24, 64})
      for (const std::int64_t rows : {1, 40})
        for (const std::int64_t cols :
             {1, 2, 3, 4, 9, group, 2 * group, 80, 333, 16 * group, 33 * group + 7})
          check(Pattern::make(vec_rows, 1, 4, group, 2), rows, cols);
  }
  for (const int group : {4, 9, 10, 11, 33}) EXPECT_EQ(spread::can_spread(group), false);
}

}  // namespace
}  // namespace coppice::cuda
