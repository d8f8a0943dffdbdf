// PackedWeight: every stored weight is found again in the packed layout, with its column.
#include "cpu/packed_weight.h"

#include <gtest/gtest.h>

#include <cstring>
#include <map>

#include "coppice/error.h"
#include "cpu/random_weight.h"

namespace coppice::cpu {
namespace {

using Entry = std::pair<std::int64_t, std::uint32_t>;  // original column, value bits

std::uint32_t bits_at(const std::byte* at, int bytes) {
  std::uint32_t bits = 0;
  std::memcpy(&bits, at, static_cast<std::size_t>(bytes));
  return bits;
}

// Reads a row back through the layout's own description.
std::vector<Entry> unpack_row(const PackedWeight::Impl& weight, std::int64_t panel, int lane) {
  const PackedLayout& layout = weight.layout;
  const std::byte* data = weight.panel(panel);
  const Panel& p = weight.panels[static_cast<std::size_t>(panel)];
  auto column = [&](std::int64_t position) {
    return weight.x_order.empty() ? position : weight.x_order.at(p.list, position);
  };
  auto value = [&](std::int64_t s) {
    return bits_at(data + layout.slot_offset(s) + lane * layout.value_bytes, layout.value_bytes);
  };
  std::vector<Entry> row;
  if (layout.format == WeightFormat::shared) {
    for (std::int64_t s = 0; s < layout.slots; ++s) row.emplace_back(column(s), value(s));
    return row;
  }
  std::int64_t s = 0;
  for (const SlotRun& run : layout.runs) {
    for (std::int64_t g = 0; g < run.groups; ++g) {
      for (int k = 0; k < run.slots; ++k, ++s) {
        std::uint32_t word = bits_at(data + layout.word_offset(s) + lane * 4, 4);
        word >>= s % layout.slots_per_word * layout.index_bits;
        const std::int64_t index = word & static_cast<std::uint32_t>(layout.window - 1);
        row.emplace_back(column(run.x_begin + g * run.x_step + index), value(s));
      }
    }
  }
  EXPECT_EQ(s, layout.slots);
  return row;
}

// The product of the packed form, in double precision.
TEST(PackedWeight, HoldsEveryWeightAtItsColumn) {
  Random random(1);
  for (int trial = 0; trial < 400; ++trial) {
    const Pattern pattern = random_pattern(random);
    const std::int64_t rows = random_int(random, 0, 80), cols = random_int(random, 0, 300);
    const Dtype dtypes[] = {Dtype::f32, Dtype::f16, Dtype::bf16};
    const Dtype dtype = dtypes[random_int(random, 0, 2)];
    RandomWeightOptions options;
    options.permuted = random_int(random, 0, 2) == 0;
    if (rows > 10 && random_int(random, 0, 1)) options.row_segments = {7, rows - 7};
    if (cols > 10 && random_int(random, 0, 1)) options.col_segments = {cols - 9, 9};
    const SparseMatrix sparse = random_weight(random, pattern, rows, cols, dtype, options);
    const PackedWeight packed(sparse.view(), random_int(random, 1, 3));
    SCOPED_TRACE(pattern.to_string() + " " + std::to_string(rows) + "x" + std::to_string(cols));

    // One token a column: the reference then shows the dense weight.
    std::vector<float> x(static_cast<std::size_t>(cols * cols), 0.0f);
    for (std::int64_t c = 0; c < cols; ++c) x[static_cast<std::size_t>(c * cols + c)] = 1;
    std::vector<double> dense(static_cast<std::size_t>(cols * rows), -1);
    reference_multiply(sparse.view(), {x.data(), cols, cols}, {dense.data(), cols, rows});

    std::int64_t covered = 0;
    const auto& impl = packed.impl();
    for (std::int64_t p = 0; p < std::ssize(impl.panels); ++p) {
      const Panel& panel = impl.panels[static_cast<std::size_t>(p)];
      EXPECT_EQ(panel.row, covered);
      for (int lane = 0; lane < panel.rows; ++lane) {
        std::map<std::int64_t, double> row;
        for (auto [col, bits] : unpack_row(impl, p, lane)) {
          EXPECT_TRUE(col >= 0 && col < cols);
          EXPECT_TRUE(row.emplace(col, to_float(dtype, bits)).second) << "column twice";
        }
        EXPECT_EQ(std::ssize(row), sparse.grid->kept());
        for (std::int64_t c = 0; c < cols; ++c) {
          const double expected = dense[static_cast<std::size_t>(c * rows + panel.row + lane)];
          ASSERT_EQ(row.contains(c) ? row[c] : 0, expected);
        }
      }
      covered += panel.rows;
    }
    EXPECT_EQ(covered, rows);
  }
}

TEST(PackedWeight, TakesAboutTheOwnBytes) {
  Random random(2);
  for (const char* text : {"2:4", "4:8", "2:8", "8:32", "vw32/8:32", "bw32x32/2:8", "64:2:8"}) {
    const SparseMatrix sparse = random_weight(random, Pattern::parse(text), 256, 4096, Dtype::bf16);
    const PackedWeight packed(sparse.view());
    EXPECT_LE(static_cast<double>(packed.bytes()),
              1.08 * static_cast<double>(sparse.grid->own_bytes(Dtype::bf16)))
        << text;
  }
}

TEST(PackedWeight, IsAlignedAndMovable) {
  Random random(3);
  const SparseMatrix sparse = random_weight(random, Pattern::parse("2:4"), 40, 64, Dtype::bf16);
  PackedWeight first(sparse.view());
  const PackedWeight second(std::move(first));
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(second.impl().panel(1)) % 64, 0u);
  EXPECT_EQ(second.rows(), 40);
  EXPECT_EQ(second.cols(), 64);
  EXPECT_EQ(second.dtype(), Dtype::bf16);
  EXPECT_EQ(second.pattern(), Pattern::parse("2:4"));
}

TEST(PackedWeight, RefusesOtherDtypes) {
  Random random(4);
  const SparseMatrix sparse = random_weight(random, Pattern::parse("2:4"), 4, 8, Dtype::i8);
  EXPECT_THROW(PackedWeight(sparse.view()), InvalidArgument);
}

}  // namespace
}  // namespace coppice::cpu
