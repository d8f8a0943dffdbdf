// The packed order of element-wise, vector-wise and block-wise weights, checked on the host: what a
// kernel would read there is the weight. Packing and reading share no function but the arithmetic
// of element_layout.h.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <set>

#include "coppice/error.h"
#include "cpu/random_weight.h"
#include "cuda/element/fragment_config.h"
#include "cuda/element/lookup_config.h"
#include "cuda/element/lookup_walk.h"
#include "cuda/host_element_pack.h"

namespace coppice::cuda {
namespace {

using cpu::Random;
using cpu::random_int;

// Adds up dense[row][column] as a kernel walks: chunk by chunk, lane by lane.
class Unpacker {
 public:
  Unpacker(const PackedElement& packed, Dtype dtype)
      : packed_(packed), plan_(packed.plan), l_(packed.plan.layout), dtype_(dtype) {
    dense.assign(static_cast<std::size_t>(l_.rows) * static_cast<std::size_t>(l_.cols), 0);
    for (row_ = 0; row_ < l_.rows; ++row_) {
      vector_ = plan_.row_vectors.empty() ? row_ / l_.vec_rows
                                          : plan_.row_vectors[static_cast<std::size_t>(row_)];
      for (int t = 0; t < kElementLanes; ++t) l_.in_groups() ? read_groups(t) : read_list(t);
    }
  }
  std::vector<float> dense;

 private:
  // A padding place is not a column, or its value is 0.
  void add(int t, int entry, int place) {
    if (plan_.staged) {
      const ChunkColumns& c = plan_.chunks[static_cast<std::size_t>(entry / kChunkEntries)];
      EXPECT_GE(place, c.first);
      EXPECT_LT(place, c.last);
    }
    std::uint32_t bits = 0;
    std::memcpy(&bits, packed_.values.data() + value_byte(l_, row_, {t, entry}),
                static_cast<std::size_t>(l_.element_bytes));
    int column = place;
    if (plan_.sources > 0)
      column = place < plan_.sources ? packed_.sources[static_cast<std::size_t>(place)] : -1;
    if (column < 0 || column >= l_.cols) {
      EXPECT_EQ(bits, 0u) << "a value at no column";
      return;
    }
    dense[static_cast<std::size_t>(row_) * static_cast<std::size_t>(l_.cols) +
          static_cast<std::size_t>(column)] += to_float(dtype_, bits);
  }

  unsigned bit(int t, int number) const {
    return packed_.words[static_cast<std::size_t>(choice_word(l_, vector_, t, number / 32))] >>
               number % 32 &
           1u;
  }

  void read_groups(int t) {
    for (int lane_group = 0; lane_group < l_.entries / l_.group_entries(); ++lane_group) {
      const int base = (lane_group * kElementLanes + t) * l_.group_cols();
      int entry = lane_group * l_.group_entries();
      const int first = lane_group * l_.choice_bits;
      const auto add_block = [&](int block) {
        for (int c = 0; c < l_.block_cols; ++c) add(t, entry++, base + block * l_.block_cols + c);
      };
      if (l_.form == ChoiceForm::mask) {
        int set = 0;
        for (int b = l_.group - 1; b >= 0; --b)
          if (bit(t, first + b) != 0) {
            add_block(b);
            ++set;
          }
        EXPECT_EQ(set, l_.kept);
      } else {
        for (int i = 0; i < l_.kept; ++i) {
          int block = 0;
          for (int b = 0; b < l_.index_bits; ++b)
            block |= static_cast<int>(bit(t, first + i * l_.index_bits + b) << b);
          add_block(block);
        }
      }
    }
  }

  void read_list(int t) {
    for (int entry = 0; entry < l_.entries; ++entry) {
      const int slot = list_slot(l_, {t, entry});
      const auto back = list_entry(l_, slot);
      EXPECT_EQ(back.t, t);
      EXPECT_EQ(back.entry, entry);
      add(t, entry,
          packed_.runs[static_cast<std::size_t>(run_number(l_, vector_, slot / l_.run))] +
              slot % l_.run);
    }
  }

  const PackedElement& packed_;
  const ElementPlan& plan_;
  const ElementLayout& l_;
  Dtype dtype_;
  int row_ = 0, vector_ = 0;
};

void expect_round_trip(const SparseMatrix& weight) {
  const std::int64_t rows = weight.rows(), cols = weight.cols();
  std::vector<std::byte> dense(static_cast<std::size_t>(rows * cols * dtype_bytes(weight.dtype)));
  decompress(weight.view(), {dense.data(), weight.dtype, rows, cols, 0});
  std::vector<float> want(static_cast<std::size_t>(rows * cols));
  to_float(weight.dtype, dense.data(), want);
  const PackedElement packed = pack_element(weight);
  EXPECT_EQ(Unpacker(packed, weight.dtype).dense, want)
      << weight.pattern().to_string() << " " << rows << " x " << cols << " "
      << dtype_name(weight.dtype);
}

constexpr Dtype kTypes[] = {Dtype::f16, Dtype::bf16, Dtype::f32};

TEST(ElementLayout, EveryGroupUpTo32ReadsBack) {
  Random random(1);
  for (int group = 2; group <= 32; ++group)
    for (int kept = 1; kept < group; ++kept) {
      if (group == 4 && kept == 2) continue;  // packed as records
      const Pattern pattern = Pattern::make(1, 1, kept, group);
      const int cols = random_int(random, 1, 10 * group), rows = random_int(random, 1, 40);
      expect_round_trip(
          cpu::random_weight(random, pattern, rows, cols, kTypes[(group + kept) % 3]));
    }
}

TEST(ElementLayout, RandomPatternsReadBack) {
  Random random(2);
  int seen = 0;
  for (int i = 0; i < 1500; ++i) {
    const Pattern pattern = cpu::random_pattern(random);
    const int rows = random_int(random, 0, 150), cols = random_int(random, 0, 700);
    const cpu::RandomWeightOptions options = random_options(random, rows, cols);
    if (!is_element_pattern(pattern)) continue;
    ++seen;
    expect_round_trip(
        cpu::random_weight(random, pattern, rows, cols, kTypes[random_int(random, 0, 2)], options));
    if (HasFailure()) break;
  }
  EXPECT_GT(seen, 400);
}

TEST(ElementLayout, TakesAboutTheOwnBytes) {
  for (const Dtype dtype : kTypes)
    for (const char* text :
         {"2:8", "4:8", "2:16", "1:4", "8:32", "16:32", "3:32", "5:8", "7:20", "vw4/8:32",
          "vw8/2:16", "vw32/8:32", "vw64/16:32", "bw4x4/8:32", "bw32x32/4:16", "bw64x64/8:32"}) {
      const Grid grid(Pattern::parse(text), {4096, 4096, {}, {}});
      const double own = static_cast<double>(grid.own_bytes(dtype));
      const ElementPlan plan = plan_element(grid, dtype, false);
      // Lists have 16 bits a run; four lanes share the groups of a row, of which 7:20 has 205.
      const double more = !plan.layout.in_groups() ? 1.05 : 4096 % plan.layout.group ? 1.03 : 1.02;
      EXPECT_LE(static_cast<double>(plan.places().bytes), own * more + 4096)
          << text << dtype_name(dtype);
    }
}

TEST(ElementLayout, SplitCoversEveryChunkOnce) {
  Random random(3);
  for (int i = 0; i < 300; ++i) {
    const Pattern pattern = cpu::random_pattern(random);
    if (!is_element_pattern(pattern)) continue;
    const Grid grid(pattern, {random_int(random, 1, 30000), random_int(random, 1, 30000), {}, {}});
    const ElementPlan plan = plan_element(grid, i % 2 == 0 ? Dtype::f16 : Dtype::f32, false);
    for (const LookupDevice device :
         {LookupDevice{132, 227 * 1024, true}, {108, 163 * 1024, false}, {84, 99 * 1024, false}}) {
      const ElementSplit s = split_element(plan, device);
      const auto chunks = static_cast<int>(plan.chunks.size());
      EXPECT_GE(s.row_warps, 1);
      EXPECT_LE(s.warps(), 16);
      for (int warp = 0; warp < s.warps(); ++warp)
        EXPECT_EQ(s.row_warp(warp), warp / s.chunk_warps) << s.chunk_warps;
      EXPECT_GE(s.ranks * s.rank_chunks, chunks);
      EXPECT_LE(s.ranks, device.clusters ? 8 : 1);
      EXPECT_GE(s.warp_chunks * s.chunk_warps, s.pass_chunks);
      EXPECT_LT((s.chunk_warps - 1) * s.warp_chunks, std::max(1, s.pass_chunks));
      EXPECT_LE(s.rows(), 512);
      EXPECT_EQ(s.first_row(0), 0);
      EXPECT_EQ((s.first_row(s.tiles) + 15) / 16, plan.layout.units());
      for (int tile = 0; tile < s.tiles; ++tile) {
        const int rows = s.first_row(tile + 1) - s.first_row(tile);
        EXPECT_LE(rows, s.rows());
        EXPECT_GE(rows, s.rows() - s.part_rows);
      }
      if (!plan.staged) continue;
      EXPECT_LE(s.pass_columns, 8192 + 128) << pattern.to_string();
      for (const ChunkColumns& chunk : plan.chunks)
        EXPECT_LE(chunk.last - chunk.first, s.pass_columns);
      const bool shares = shares_lists(plan.layout, plan.row_vectors.empty());
      const LookupForm& form =
          kLookupForms[static_cast<std::size_t>(lookup_form(plan.layout, true, shares))];
      for (const int tokens : {1, 2, 4})
        EXPECT_LE(lookup_places({form, i % 2 == 0 ? Dtype::f16 : Dtype::f32, tokens}, s, 1).bytes,
                  static_cast<std::uint32_t>(device.shared_bytes))
            << pattern.to_string();
    }
  }
}

// As the kernels walk: every chunk of every 8 or 16 rows belongs to one warp, and a walk ahead of
// it comes by the same items.
void expect_walks(const ElementPlan& plan, const ElementSplit& s) {
  const int units = plan.layout.units(), parts = kUnitRows / s.part_rows;
  const auto chunks = static_cast<int>(plan.chunks.size());
  std::vector<int> seen(static_cast<std::size_t>(units * parts) * plan.chunks.size());
  for (int tile = 0; tile < s.tiles; ++tile)
    for (int rank = 0; rank < s.ranks; ++rank)
      for (int warp = 0; warp < s.warps(); ++warp) {
        LookupWalk walk(s, units, chunks, rank, tile, warp), ahead = walk;
        while (walk.chunk < walk.end_chunk) {
          for (; walk.here(); walk.next()) {
            ASSERT_TRUE(ahead.to_item());
            ASSERT_EQ(walk.part, ahead.part);
            ASSERT_EQ(walk.now, ahead.now);
            ahead.next();
            ++seen[static_cast<std::size_t>(walk.part * chunks + walk.now)];
            const int row = walk.part * s.part_rows;
            ASSERT_GE(row, s.first_row(tile));
            ASSERT_LE(row + s.part_rows, s.first_row(tile) + s.rows());
          }
          walk.next_pass();
        }
        ASSERT_FALSE(ahead.to_item());
      }
  EXPECT_EQ(std::ranges::count(seen, 1), std::ssize(seen));
}

TEST(ElementLayout, WalksComeByEveryItemOnce) {
  Random random(9);
  for (int i = 0; i < 60; ++i) {
    const Pattern pattern = cpu::random_pattern(random);
    if (!is_element_pattern(pattern)) continue;
    const bool few_rows = i % 3 == 0;
    const Grid grid(pattern, {random_int(random, 1, few_rows ? 200 : 5000),
                              random_int(random, 1, few_rows ? 30000 : 5000),
                              {},
                              {}});
    const ElementPlan plan = plan_element(grid, i % 2 == 0 ? Dtype::f16 : Dtype::f32, false);
    for (const LookupDevice device :
         {LookupDevice{132, 227 * 1024, true}, {84, 99 * 1024, false}}) {
      const ElementSplit s = split_element(plan, device);
      expect_walks(plan, s);
      if (HasFailure()) return;
    }
  }
}

TEST(ElementLayout, CommonPatternsHaveTheirKernels) {
  const auto form_of = [](const char* text, Dtype dtype) {
    const ElementPlan plan =
        plan_element(Grid(Pattern::parse(text), {64, 4096, {}, {}}), dtype, false);
    return kLookupForms[static_cast<std::size_t>(lookup_form(plan.layout, plan.staged, false))];
  };
  for (const char* text : {"2:8", "4:8", "2:16", "8:32", "16:32", "3:32", "5:32", "vw4/8:32",
                           "vw32/8:32", "bw4x4/8:32", "bw64x64/8:32"})
    EXPECT_FALSE(form_of(text, Dtype::f32).general) << text;
  EXPECT_TRUE(form_of("5:8", Dtype::f16).general) << "a mask without a kernel";
  EXPECT_EQ(form_of("2:8", Dtype::f16).kept, 2);
  EXPECT_EQ(form_of("4:8", Dtype::f16).form, ChoiceForm::mask);
}

// Of a kernel for `tokens` tokens.
LookupConfig config_of(const char* text, Dtype dtype, int tokens) {
  const ElementPlan plan =
      plan_element(Grid(Pattern::parse(text), {64, 4096, {}, {}}), dtype, false);
  const bool shares = shares_lists(plan.layout, plan.row_vectors.empty());
  const int form = lookup_form(plan.layout, plan.staged, shares);
  return {kLookupForms[static_cast<std::size_t>(form)], dtype, tokens};
}

TEST(ElementLayout, ColumnsOfAGroupTurnWithinIt) {
  for (const char* text : {"8:16", "8:32", "16:32"}) {
    const LookupConfig config = config_of(text, Dtype::f32, 1);
    const auto group = static_cast<std::uint32_t>(config.form.group);
    ASSERT_TRUE(config.turned()) << text;
    std::set<std::uint32_t> places;
    for (std::uint32_t column = 0; column < 4 * group; ++column) {
      const std::uint32_t place = column ^ config.turn(column);
      EXPECT_EQ(place / group, column / group);
      EXPECT_EQ(config.turn(column), config.turn(column / group * group)) << "of a whole group";
      places.insert(place);
    }
    EXPECT_EQ(places.size(), 4 * group);
  }
  EXPECT_FALSE(config_of("4:8", Dtype::f16, 1).turned());
  EXPECT_FALSE(config_of("2:16", Dtype::f16, 1).turned());
}

// A slot has room for what is copied of a list that begins anywhere.
TEST(ElementLayout, ListsFitTheirSlots) {
  for (const char* text : {"vw32/8:32", "vw16/4:16", "vw8/8:32", "bw32x2/8:32", "bw16x4/8:32",
                           "bw8x8/8:32", "bw4x16/2:8", "bw32x32/2:8", "vw24/8:32"})
    for (const Dtype dtype : {Dtype::f16, Dtype::f32}) {
      const LookupConfig config = config_of(text, dtype, 1);
      if (config.form.form != ChoiceForm::list) continue;
      const int bytes = kElementLanes * kChunkEntries / config.form.run * 2;
      const int most_before = config.lists_aligned() ? 0 : kPieceBytes - 2;
      EXPECT_GE(config.list_bytes(),
                (bytes + most_before + kPieceBytes - 1) / kPieceBytes * kPieceBytes)
          << text;
      EXPECT_EQ(config.list_bytes() % kPieceBytes, 0) << text;
      EXPECT_EQ(config.slot_bytes() % kPieceBytes, 0) << text;
    }
  EXPECT_EQ(config_of("vw32/8:32", Dtype::f16, 1).halves(), 2);
  EXPECT_EQ(config_of("vw24/8:32", Dtype::f16, 1).lists(), 8) << "halves of units in two vectors";
  EXPECT_EQ(config_of("vw8/8:32", Dtype::f32, 1).lists(), 1);
}

TEST(ElementLayout, UpperBitsOfAMaskNameItsPlaces) {
  for (unsigned mask = 0; mask < 256; ++mask) {
    if (std::popcount(mask) != 4) continue;
    const std::uint32_t places = mask_places(mask >> 1, 8);
    int k = 0;
    for (int bit = 7; bit >= 0; --bit) {
      if ((mask >> bit & 1) == 0) continue;
      EXPECT_EQ(places >> 8 * k++ & 255, 8u * static_cast<unsigned>(bit)) << mask;
    }
  }
}

TEST(ElementLayout, ListsWhoseColumnsDoNotFitBecomeGroups) {
  const auto form_of = [](const char* text, Dtype dtype) {
    return plan_element(Grid(Pattern::parse(text), {64, 60000, {}, {}}), dtype, false).layout.form;
  };
  EXPECT_EQ(form_of("vw32/8:32", Dtype::f16), ChoiceForm::list);
  EXPECT_EQ(form_of("vw32/1:64", Dtype::f16), ChoiceForm::list);
  EXPECT_EQ(form_of("vw32/1:64", Dtype::f32), ChoiceForm::indices);
  EXPECT_EQ(form_of("bw16x256/1:256", Dtype::f16), ChoiceForm::indices);
  Random random(4);
  expect_round_trip(
      cpu::random_weight(random, Pattern::parse("vw32/1:256"), 70, 20000, Dtype::bf16));
}

TEST(ElementLayout, FragmentsFitSharedMemory) {
  Random random(5);
  for (int i = 0; i < 200; ++i) {
    const Pattern pattern = cpu::random_pattern(random);
    if (!is_element_pattern(pattern)) continue;
    const Grid grid(pattern, {random_int(random, 1, 9000), random_int(random, 1, 30000), {}, {}});
    const ElementPlan plan = plan_element(grid, Dtype::f16, false);
    const FragmentDevice device{132, 227 * 1024, true, i % 2 == 0};
    const std::vector<FragmentSplit> splits = split_fragments(plan, device);
    if (splits.empty()) continue;
    const bool shared = plan.row_vectors.empty() && plan.layout.vec_rows % kUnitRows == 0;
    const FragmentForm& form =
        kFragmentForms[static_cast<std::size_t>(fragment_form(plan.layout, shared))];
    for (std::size_t tile = 0; tile < splits.size(); ++tile) {
      const FragmentSplit& split = splits[tile];
      for (const bool tall : {false, true}) {
        const FragmentPlaces at = split.wgmma
                                      ? wgmma_places(form, kFragmentTiles[tile], tall)
                                      : mma_places(form, kFragmentTiles[tile], split.columns, tall);
        EXPECT_LE(at.bytes, 227 * 1024);
        EXPECT_GE(at.turned, form.table_bytes() + 2 * at.stage_bytes);
      }
      const bool same_sums =
          fragment_residents(kFragmentTiles[tile]) == fragment_residents(kFragmentTiles[0]);
      EXPECT_TRUE(!same_sums || split.rank_steps == splits[0].rank_steps);
      EXPECT_GE(split.ranks * split.rank_steps * form.pieces(), plan.layout.pieces);
      for (const ChunkColumns& chunk : plan.chunks)
        EXPECT_TRUE(!form.gathers() || chunk.last - chunk.first <= split.columns);
    }
  }
}

TEST(ElementLayout, RefusesTooManyColumns) {
  const Grid grid(Pattern::parse("2:8"), {1, 65537, {}, {}});
  EXPECT_THROW(plan_element(grid, Dtype::f16, false), InvalidArgument);
}

// wgmma reads pieces of 16-bit lists from shared memory as they lie: 8 rows of 64 bytes whose
// 16-byte parts are exchanged by bits 7 and 8 of their place.
TEST(ElementLayout, PiecesOfListsAreAtomsOfTheSwizzleOf64Bytes) {
  const Grid grid(Pattern::parse("vw64/8:32"), {100, 1000, {}, {}});
  const ElementLayout l = plan_element(grid, Dtype::f16, false).layout;
  ASSERT_EQ(l.form, ChoiceForm::list);
  for (int row = 0; row < 100; ++row)
    for (int slot = 0; slot < l.slots; ++slot) {
      const int piece = slot / 32, place = row % 8 * 64 + slot % 32 * 2;
      const int swizzled = place ^ (place >> 7 & 3) << 4;
      EXPECT_EQ(value_byte(l, row, list_entry(l, slot)),
                (row / 8 * l.pieces + piece) * 512 + swizzled);
    }
  const ElementLayout wide = plan_element(grid, Dtype::f32, false).layout;
  EXPECT_EQ(value_byte(wide, 3, {1, 0}), 3 * 64 + 16) << "32-bit lists lie in order";
}

}  // namespace
}  // namespace coppice::cuda
