#include "cuda/pack_plan.h"

#include <fmt/format.h>

#include <algorithm>

#include "coppice/error.h"
#include "core/rounding.h"

namespace coppice::cuda {
namespace {

constexpr std::int64_t kMaxCols = 65536;  // column lists have 16 bits an entry

// Every vector gets whole units (blocks, if vectors are that high).
void place_vectors(const Grid& grid, bool whole_blocks, PackPlan& plan) {
  // 2:4 has vectors of one row, but all of them share all columns.
  std::vector<RowVector> vectors(grid.vectors().begin(), grid.vectors().end());
  if (grid.pattern().is_two_four() && grid.rows() > 0) {
    vectors.clear();
    vectors.push_back({0, static_cast<std::int32_t>(grid.rows())});
  }
  for (std::size_t v = 0; v < vectors.size(); ++v) {
    const auto first_block = static_cast<std::int32_t>(plan.units.size() / kBlockUnits);
    const std::int32_t end = static_cast<std::int32_t>(vectors[v].row) + vectors[v].rows;
    for (auto row = static_cast<std::int32_t>(vectors[v].row); row < end; row += kUnitRows)
      plan.units.push_back({row, std::min(kUnitRows, end - row), static_cast<std::int32_t>(v), 0});
    if (!whole_blocks) continue;
    while (plan.units.size() % kBlockUnits != 0)
      plan.units.push_back({0, 0, static_cast<std::int32_t>(v), 0});
    for (std::size_t i = 0; i < kTileBlocks.size(); ++i) {
      const std::int32_t height = kTileBlocks[i] * kBlockRows;
      std::int32_t block = first_block;
      for (auto row = static_cast<std::int32_t>(vectors[v].row); row < end; row += height) {
        plan.tiles[i].push_back(
            {block, row, std::min(height, end - row), static_cast<std::int32_t>(v)});
        block += kTileBlocks[i];
      }
    }
  }
  while (plan.units.size() % kBlockUnits != 0)
    plan.units.push_back({0, 0, plan.units.back().vector, 0});
}

// How many vectors the blocks have at most, in equal parts: 1, 2 or 4.
int count_block_vectors(const std::vector<RowUnit>& units) {
  int vectors = 1;
  for (std::size_t u = 0; u + 3 < units.size(); u += kBlockUnits) {
    if (units[u].vector != units[u + 1].vector || units[u + 2].vector != units[u + 3].vector)
      return 4;
    if (units[u].vector != units[u + 2].vector) vectors = 2;
  }
  return vectors;
}

// How many vectors follow each other in a tile of `blocks` at most, looked at in equal parts of
// blocks.
int count_tile_lists(const std::vector<RowUnit>& units, int block_vectors, int blocks) {
  const auto tile = static_cast<std::size_t>(blocks * kBlockUnits);
  const auto part = static_cast<std::size_t>(kBlockUnits / block_vectors);
  int most = 1, now = 1;
  for (std::size_t u = part; u < units.size(); u += part) {
    now = u % tile == 0 ? 1 : now + (units[u].vector != units[u - part].vector ? 1 : 0);
    most = std::max(most, now);
  }
  return most;
}

bool is_regular(const Grid& grid) {
  std::int64_t expected = 0;
  for (const ColumnGroup& group : grid.groups()) {
    if (group.col != expected) return false;
    expected += grid.pattern().group;
  }
  return true;
}

std::vector<QuadPlace> quad_places(const Grid& grid) {
  std::vector<QuadPlace> places;
  places.reserve(grid.groups().size());
  for (const ColumnGroup& group : grid.groups())
    places.push_back({static_cast<std::int32_t>(group.col), group.cols,
                      static_cast<std::int32_t>(group.value),
                      static_cast<std::int32_t>(group.live_col)});
  return places;
}

}  // namespace

PackPlan plan_pack(const Grid& grid, bool permuted) {
  const Pattern& pattern = grid.pattern();
  if (!pattern.fits_sparse_tensor_cores())
    throw InvalidArgument(fmt::format(
        "{} is not multiplied on the GPU: N:M, vector-wise and block-wise patterns are, and V:2:M, "
        "which keeps 2 of 4 kept columns; prune to such a pattern, or multiply on the CPU",
        pattern.to_string()));
  if (grid.cols() > kMaxCols)
    throw InvalidArgument(
        fmt::format("{} columns: the CUDA backend packs weights of up to {}; "
                    "split the weight by columns",
                    grid.cols(), kMaxCols));
  PackPlan plan;
  const bool whole_blocks = pattern.is_two_four() || pattern.vec_rows >= kBlockRows;
  plan.steps = ceil_div(std::ssize(grid.groups()), kStepQuads);
  place_vectors(grid, whole_blocks, plan);
  plan.blocks = std::ssize(plan.units) / kBlockUnits;
  plan.block_vectors = count_block_vectors(plan.units);
  for (std::size_t i = 0; i < kTileBlocks.size(); ++i)
    plan.tile_lists[i] = count_tile_lists(plan.units, plan.block_vectors, kTileBlocks[i]);
  const bool regular = is_regular(grid);
  if (!regular) plan.quads = quad_places(grid);
  plan.regular = regular && !permuted;
  // Quad q of a regular 2:4 is columns 4q to 4q + 3: nothing to gather.
  plan.in_order = pattern.is_two_four() && plan.regular;
  plan.quad_bytes = column_quad_bytes(pattern.group, plan.regular);
  if (grid.rows() > 0 && !plan.in_order)
    plan.lists = pattern.is_two_four() ? 1 : std::ssize(grid.vectors());
  if (pattern.is_two_four())
    plan.vector_blocks = static_cast<int>(plan.blocks);
  else if (whole_blocks)
    plan.vector_blocks = static_cast<int>(ceil_div(pattern.vec_rows, kBlockRows));
  return plan;
}

PackedPlaces PackPlan::places() const {
  PackedPlaces at;
  auto take = [&at](std::int64_t bytes) {
    const std::int64_t start = at.bytes;
    at.bytes = ceil_div(at.bytes + bytes, kPackedAlignment) * kPackedAlignment;
    return start;
  };
  at.records = take(blocks * steps * kRecordBytes);
  at.columns = take(lists * steps * kStepQuads * quad_bytes);
  at.units = take(std::ssize(units) * std::int64_t{sizeof(RowUnit)});
  for (std::size_t i = 0; i < tiles.size(); ++i)
    at.tiles[i] = take(std::ssize(tiles[i]) * std::int64_t{sizeof(RowTile)});
  at.quads = take(std::ssize(quads) * std::int64_t{sizeof(QuadPlace)});
  return at;
}

}  // namespace coppice::cuda
