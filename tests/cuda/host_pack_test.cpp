// The packed order, checked on the host: what a kernel would read there is the weight.
#include "cuda/host_pack.h"

#include <gtest/gtest.h>

#include <cstring>
#include <set>
#include <string>
#include <utility>

#include "coppice/error.h"
#include "cpu/random_weight.h"

namespace coppice::cuda {
namespace {

using cpu::Random;

TEST(PackedLayout, EveryValueHasItsOwnPlace) {
  std::set<int> bytes, words;
  for (int row = 0; row < kBlockRows; ++row) {
    for (int place = 0; place < kStepKept; ++place) bytes.insert(value_byte(row, place));
    for (int quad = 0; quad < kStepQuads; ++quad) {
      const MetadataPlace at = metadata_place(row, quad);
      EXPECT_LT(at.word * 4, kMetadataBytes);
      words.insert(at.word * 32 + at.shift);
    }
  }
  EXPECT_EQ(bytes.size(), static_cast<std::size_t>(kValueBytes / 2));
  EXPECT_EQ(*bytes.rbegin(), kValueBytes - 2);
  EXPECT_EQ(words.size(), static_cast<std::size_t>(kBlockRows * kStepQuads));
}

// Column `place` of a vector's list, as kernels decode it.
std::int64_t listed_column(const HostPack& pack, const Grid& grid, int vector, std::int64_t place) {
  const PackPlan& plan = pack.plan;
  if (plan.lists == 0) return place;
  const std::int64_t quad = place / 4;
  std::uint64_t bits = 0;
  std::memcpy(&bits,
              pack.columns.data() + (vector * plan.steps * kStepQuads + quad) * plan.quad_bytes,
              static_cast<std::size_t>(plan.quad_bytes));
  if (plan.quad_bytes == kColumnQuadBytes)
    return static_cast<std::int64_t>(bits >> (16 * (place % 4)) & 0xFFFF);
  return quad_column(static_cast<std::uint32_t>(bits), static_cast<int>(place % 4),
                     static_cast<int>(quad), plan.quad_bytes, grid.pattern().group,
                     static_cast<int>(grid.cols()));
}

// The dense weight as a kernel sees it: values at the columns that metadata and lists name.
std::vector<float> unpack(const HostPack& pack, const SparseView& view) {
  const std::int64_t cols = view.grid->cols(), steps = pack.plan.steps;
  std::vector<float> dense(static_cast<std::size_t>(view.grid->rows() * cols));
  for (std::size_t u = 0; u < pack.plan.units.size(); ++u) {
    const RowUnit& unit = pack.plan.units[u];
    for (int r = 0; r < unit.rows; ++r) {
      const std::int64_t padded = static_cast<std::int64_t>(u) * kUnitRows + r;
      const int row = static_cast<int>(padded % kBlockRows);
      for (std::int64_t quad = 0; quad < steps * kStepQuads; ++quad) {
        const std::byte* record =
            pack.records.data() + (padded / kBlockRows * steps + quad / kStepQuads) * kRecordBytes;
        const int q = static_cast<int>(quad % kStepQuads);
        const MetadataPlace at = metadata_place(row, q);
        std::uint32_t word;
        std::memcpy(&word, record + kValueBytes + at.word * 4, 4);
        const unsigned bits = word >> at.shift & 15;
        EXPECT_LT(bits & 3, bits >> 2) << "the hardware wants ascending, distinct places";
        for (int i = 0; i < 2; ++i) {
          std::uint16_t value;
          std::memcpy(&value, record + value_byte(row, 2 * q + i), 2);
          if (value == 0) continue;
          const std::int64_t place = 4 * quad + (i == 0 ? bits & 3 : bits >> 2);
          const std::int64_t col = listed_column(pack, *view.grid, unit.vector, place);
          EXPECT_LT(col, cols);
          dense[static_cast<std::size_t>((unit.row + r) * cols + col)] +=
              to_float(view.dtype, value);
        }
      }
    }
  }
  return dense;
}

void check(const char* pattern, std::int64_t rows, std::int64_t cols,
           const cpu::RandomWeightOptions& options = {}) {
  Random random(static_cast<std::uint64_t>(rows * 1000 + cols));
  const SparseMatrix weight =
      cpu::random_weight(random, Pattern::parse(pattern), rows, cols, Dtype::bf16, options);
  const HostPack pack = pack_on_host(weight.view(), 2);
  std::vector<std::byte> bytes(static_cast<std::size_t>(rows * cols * 2));
  decompress(weight.view(), {bytes.data(), Dtype::bf16, rows, cols, 0});
  std::vector<float> want(static_cast<std::size_t>(rows * cols));
  to_float(Dtype::bf16, bytes.data(), want);
  EXPECT_EQ(unpack(pack, weight.view()), want) << pattern << " " << rows << "x" << cols;
  const PackPlan& plan = pack.plan;
  for (int v = 0; cols > 0 && v < plan.lists; ++v)
    for (std::int64_t place = 0; place < plan.steps * kStepCols; ++place)
      ASSERT_LT(listed_column(pack, *weight.grid, v, place), cols) << "padding reads x as well";
  for (std::size_t i = 0; i < pack.plan.tiles.size(); ++i) {
    std::int64_t blocks = 0;
    for (const RowTile& tile : pack.plan.tiles[i]) {
      EXPECT_EQ(tile.block, blocks) << "tiles cover the blocks in order";
      EXPECT_LE(tile.blocks(), kTileBlocks[i]);
      const RowUnit& first = pack.plan.units[static_cast<std::size_t>(tile.block) * kBlockUnits];
      EXPECT_EQ(tile.row, first.row);
      EXPECT_EQ(tile.vector, first.vector);
      std::int32_t unit_rows = 0;
      for (int u = 0; u < tile.blocks() * kBlockUnits; ++u) unit_rows += (&first)[u].rows;
      EXPECT_EQ(tile.rows, unit_rows);
      blocks += tile.blocks();
    }
    if (pack.plan.vector_blocks > 0 || rows == 0) {
      EXPECT_EQ(blocks, pack.plan.blocks);
    }
  }
}

TEST(HostPack, HoldsTheWeight) {
  for (const char* pattern : {"2:4", "2:2:8", "16:2:8", "20:2:5", "32:2:7", "64:2:8", "100:2:16",
                              "128:2:8", "256:2:32", "16:2:64", "32:2:100", "64:2:256"})
    for (std::int64_t rows : {0, 1, 15, 64, 200, 300})
      for (std::int64_t cols : {0, 1, 2, 3, 5, 64, 67, 333}) check(pattern, rows, cols);
}

TEST(HostPack, CountsTheVectorsOfTiles) {
  const auto lists = [](const char* pattern, std::vector<std::int64_t> segments) {
    return plan_pack(Grid(Pattern::parse(pattern), {512, 64, std::move(segments), {}}), false)
        .tile_lists;
  };
  using Lists = decltype(PackPlan::tile_lists);
  EXPECT_EQ(lists("2:4", {}), (Lists{1, 1, 1}));
  EXPECT_EQ(lists("64:2:8", {}), (Lists{1, 2, 4}));
  EXPECT_EQ(lists("128:2:8", {}), (Lists{1, 1, 2}));
  EXPECT_EQ(lists("256:2:8", {}), (Lists{1, 1, 1}));
  EXPECT_EQ(lists("256:2:8", {64, 448}), (Lists{1, 2, 2}));
  EXPECT_EQ(lists("32:2:8", {}), (Lists{2, 4, 8}));
  EXPECT_EQ(lists("16:2:8", {}), (Lists{4, 8, 16}));
}

TEST(HostPack, SegmentsAndPermutation) {
  for (const char* pattern : {"2:4", "16:2:8", "64:2:8", "128:2:5"}) {
    check(pattern, 200, 150, {.row_segments = {70, 0, 130}, .col_segments = {}, .permuted = false});
    check(pattern, 200, 150, {.row_segments = {}, .col_segments = {33, 117}, .permuted = false});
    check(pattern, 200, 150,
          {.row_segments = {1, 199}, .col_segments = {6, 144}, .permuted = true});
  }
}

TEST(HostPack, RefusesOtherPatternsAndTypes) {
  Random random(1);
  for (const char* pattern : {"dense", "4:8", "64:3/6:8", "vw4/8:32"}) {
    const SparseMatrix weight =
        cpu::random_weight(random, Pattern::parse(pattern), 64, 64, Dtype::f16);
    EXPECT_THROW(pack_on_host(weight.view(), 1), InvalidArgument) << pattern;
  }
  const SparseMatrix f32 = cpu::random_weight(random, Pattern::parse("2:4"), 8, 8, Dtype::f32);
  EXPECT_THROW(pack_on_host(f32.view(), 1), InvalidArgument);
  EXPECT_THROW(plan_pack(Grid(Pattern::parse("2:4"), {8, 65537, {}, {}}), false), InvalidArgument);
}

TEST(PackPlan, ListsAreShort) {
  const auto quad_bytes = [](const char* pattern, std::vector<std::int64_t> col_segments,
                             bool permuted) {
    return plan_pack(Grid(Pattern::parse(pattern), {64, 1000, {}, std::move(col_segments)}),
                     permuted)
        .quad_bytes;
  };
  EXPECT_EQ(quad_bytes("64:2:5", {}, false), 1);
  EXPECT_EQ(quad_bytes("64:2:8", {200, 800}, false), 1) << "segments of whole groups";
  EXPECT_EQ(quad_bytes("64:2:16", {}, false), 2);
  EXPECT_EQ(quad_bytes("64:2:17", {}, false), 3);
  EXPECT_EQ(quad_bytes("64:2:100", {}, false), 4);
  EXPECT_EQ(quad_bytes("64:2:256", {}, false), 4) << "M is at most 256";
  EXPECT_EQ(quad_bytes("64:2:8", {201, 799}, false), 8);
  EXPECT_EQ(quad_bytes("64:2:8", {}, true), 8);
}

// Device memory of a weight is its own bytes and at most 2 % more.
TEST(PackPlan, MemoryIsThatOfTheWeight) {
  const std::pair<std::int64_t, std::int64_t> shapes[] = {
      {4096, 14336}, {14336, 4096}, {4096, 4096}, {8192, 8192}, {28672, 8192}};
  for (const auto& [rows, cols] : shapes)
    for (const char* outer : {"2:4", "V:2:5", "V:2:6", "V:2:7", "V:2:8", "V:2:10", "V:2:12",
                              "V:2:16", "V:2:20", "V:2:32", "V:2:64"})
      for (const char* vec_rows : {"16", "32", "64", "128", "256", "512"}) {
        std::string pattern = outer;
        if (pattern[0] == 'V') pattern.replace(0, 1, vec_rows);
        const Grid grid(Pattern::parse(pattern), {rows, cols, {}, {}});
        const PackPlan plan = plan_pack(grid, false);
        // The last step is stored whole: with few columns alive that can be more than 2 %.
        const double whole_steps = static_cast<double>(plan.steps * kStepQuads) /
                                   static_cast<double>(std::ssize(grid.groups()));
        const double allowed = cols >= 14336 ? 1.02 : 1.02 * whole_steps;
        const auto own = static_cast<double>(grid.own_bytes(Dtype::bf16));
        EXPECT_LE(static_cast<double>(plan.places().bytes), allowed * own)
            << pattern << " " << rows << " x " << cols;
      }
}

}  // namespace
}  // namespace coppice::cuda
