// Follows products of the decode kernels on the host: what every lane reads of a record, which rows
// of activations ldmatrix finds, and what mma.sp makes of it, with the index arithmetic of the
// kernels.
#include "cuda/kernels/decode_layout.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <set>

#include "cpu/random_weight.h"
#include "cuda/decode_select.h"
#include "cuda/host_pack.h"
#include "cuda/kernels/decode_ring_sizes.h"
#include "cuda/kernels/sparse_mma_layout.h"

namespace coppice::cuda::decode {
namespace {

using cpu::Random;

// A warp's view of a record: the words of its 32 lanes.
struct HostRecord {
  std::uint16_t values[8][4][32][2];  // [row octet][value octet][lane]
  std::uint32_t metadata[kBlockUnits][32];

  explicit HostRecord(const std::byte* record) {
    for (int rows = 0; rows < 8; ++rows)
      for (int octet = 0; octet < 4; ++octet)
        for (int lane = 0; lane < 32; ++lane)
          std::memcpy(values[rows][octet][lane], record + value_offset(rows, octet, lane), 4);
    for (int u = 0; u < kBlockUnits; ++u)
      for (int lane = 0; lane < 32; ++lane)
        std::memcpy(&metadata[u][lane], record + metadata_offset(u, lane), 4);
  }
};

// mma.sp m16n8k32 with selector j: what row `row` of unit `u` (0 to 15) gives, where `x(k)` is the
// activation of the instruction's column k.
template <typename X>
float instruction(const HostRecord& r, int u, int row, int j, const X& x) {
  float sum = 0;
  const int g = row % 8, half = row / 8;
  for (int quad = 0; quad < 8; ++quad) {
    const std::uint32_t word = r.metadata[u][4 * g + 2 * j + quad / 4] >> 16 * half;
    const std::uint32_t bits = word >> 4 * (quad % 4) & 15;
    EXPECT_LT(bits & 3, bits >> 2) << "indices ascend";
    const std::uint16_t* pair = r.values[2 * u + half][2 * j + quad / 4][4 * g + quad % 4];
    for (int i = 0; i < 2; ++i)
      sum += to_float(Dtype::f16, pair[i]) * x(4 * quad + static_cast<int>(bits >> 2 * i & 3));
  }
  return sum;
}

// The column that a lane's row of activations is, as the kernels find it.
std::uint32_t column_of(const PackPlan& plan, const std::vector<std::byte>& lists, int group,
                        int vector, int step, int place) {
  if (plan.in_order) return static_cast<std::uint32_t>(step * kStepCols + place);
  const std::byte* list =
      lists.data() + (vector * plan.steps + step) * kStepQuads * plan.quad_bytes;
  const mma::PackedPlace at = mma::packed_place(place, plan.quad_bytes);
  std::uint32_t bits = static_cast<std::uint32_t>(list[at.byte]);
  if (plan.quad_bytes > 1) bits |= static_cast<std::uint32_t>(list[at.byte + 1]) << 8;
  const std::uint32_t column = mma::listed_column(bits >> at.shift, place, plan.quad_bytes, group);
  return plan.regular ? static_cast<std::uint32_t>(step * kStepQuads * group) + column : column;
}

void follow(const char* pattern, std::int64_t rows, std::int64_t cols, bool permuted) {
  SCOPED_TRACE(pattern);
  Random random(static_cast<std::uint64_t>(rows + cols));
  const SparseMatrix weight = cpu::random_weight(random, Pattern::parse(pattern), rows, cols,
                                                 Dtype::f16, {{}, {}, permuted});
  const HostPack pack = pack_on_host(weight.view(), 1);
  std::vector<float> x = cpu::random_floats(random, cols), sums(static_cast<std::size_t>(rows));
  std::vector<double> want(static_cast<std::size_t>(rows));
  reference_multiply(weight.view(), {x.data(), 1, cols}, {want.data(), 1, rows}, {});
  const int group = weight.pattern().group;
  for (std::int64_t block = 0; block < pack.plan.blocks; ++block)
    for (int step = 0; step < pack.plan.steps; ++step) {
      const HostRecord record(pack.records.data() +
                              (block * pack.plan.steps + step) * kRecordBytes);
      for (int row = 0; row < kBlockRows; ++row) {
        const RowUnit& unit =
            pack.plan.units[static_cast<std::size_t>(block * kBlockUnits + row / 16)];
        if (row % 16 >= unit.rows) continue;
        for (int j = 0; j < 2; ++j)
          sums[static_cast<std::size_t>(unit.row + row % 16)] +=
              instruction(record, row / 16, row % 16, j, [&](int k) {
                const int vector = pack.plan.lists == 1 ? 0 : unit.vector;
                const std::uint32_t column =
                    column_of(pack.plan, pack.columns, group, vector, step, place_of_lane(k, j));
                return column < cols ? x[column] : 0.0f;
              });
      }
    }
  double error = 0, norm = 0;
  for (std::size_t r = 0; r < sums.size(); ++r) {
    error += (sums[r] - want[r]) * (sums[r] - want[r]);
    norm += want[r] * want[r];
  }
  EXPECT_LE(std::sqrt(error), 1e-5 * std::sqrt(norm));
}

TEST(DecodeLayout, LanesMultiplyWhatTheWeightSays) {
  for (const char* pattern : {"2:4", "64:2:8", "128:2:16", "16:2:5", "32:2:6", "64:2:32", "24:2:7",
                              "64:2:100", "256:2:256"})
    for (const std::int64_t cols : {64, 130, 517}) follow(pattern, 200, cols, false);
  follow("2:4", 130, 300, true);
  follow("32:2:8", 130, 300, true);
}

TEST(DecodeLayout, EveryColumnHasARowOfItsOwn) {
  std::set<std::uint32_t> rows;
  for (std::uint32_t position = 0; position < 4096; ++position) {
    EXPECT_EQ(panel_row(position) / 8, position / 8);
    EXPECT_TRUE(rows.insert(panel_row(position)).second);
  }
  // Written by neighbouring lanes, read by a matrix of columns in order: 8 different banks.
  for (std::uint32_t first = 0; first < 64; ++first) {
    std::set<std::uint32_t> banks;
    for (std::uint32_t octet = 0; octet < 8; ++octet)
      banks.insert(panel_row(first + 8 * octet) % 8);
    EXPECT_EQ(banks.size(), 8u);
  }
  for (int j = 0; j < 2; ++j)
    for (int matrix = 0; matrix < 4; ++matrix) {
      std::set<std::uint32_t> banks;
      for (int row = 0; row < 8; ++row)
        banks.insert(panel_row(static_cast<std::uint32_t>(place_of_lane(8 * matrix + row, j))) % 8);
      EXPECT_EQ(banks.size(), 8u);
    }
}

TEST(DecodeLayout, TheInstructionsTakeEveryPlaceOnce) {
  std::set<int> places;
  for (int j = 0; j < 2; ++j)
    for (int lane = 0; lane < 32; ++lane) places.insert(place_of_lane(lane, j));
  EXPECT_EQ(places.size(), 64u);
  EXPECT_EQ(*places.rbegin(), 63);
}

TEST(DecodeLayout, SlicesAreAllStepsInOrder) {
  for (const int steps : {0, 1, 3, 16, 100, 1024})
    for (const int slices : {1, 2, 8, 64}) {
      EXPECT_EQ(slice_begin(steps, 0, slices), 0);
      EXPECT_EQ(slice_begin(steps, slices, slices), steps);
      for (int i = 0; i < slices; ++i) {
        const int count = slice_begin(steps, i + 1, slices) - slice_begin(steps, i, slices);
        EXPECT_GE(count, steps / slices);
        EXPECT_LE(count, (steps + slices - 1) / slices);
      }
    }
}

TEST(DecodeLayout, SumsDoNotOverlap) {
  for (const int tokens : kDecodeTokens)
    for (const int slice_warps : {1, 2, 4, 8}) {
      DecodeShape s;
      s.tokens = tokens;
      s.slice_warps = slice_warps;
      s.row_warps = kWarps / slice_warps;
      std::set<int> places;
      for (int slice = 0; slice < slice_warps; ++slice)
        for (int row = 0; row < s.row_warps; ++row)
          for (int u = 0; u < kBlockUnits; ++u)
            for (int n = 0; n < s.panels(); ++n)
              for (int lane = 0; lane < 32; ++lane)
                places.insert(sum_offset(s, slice, row, u, n, lane));
      EXPECT_EQ(places.size(), static_cast<std::size_t>(kWarps * 4 * s.panels() * 32));
      EXPECT_EQ(*places.rbegin() + 16, kWarps * sum_bytes(tokens));
    }
}

TEST(DecodeRing, ARunIsCopiedWholeAndOnce) {
  for (int first = 0; first < 8; ++first)
    for (int units = 0; units <= 8; ++units)
      for (const int run_units : {units, 8}) {
        std::set<int> bytes;
        int total = 0;
        for (int lane = 0; lane < 32; ++lane) {
          const RunCopy copy = run_copy(lane, first, units, run_units);
          total += copy.bytes;
          for (int i = 0; i < copy.bytes; ++i) {
            const int to = copy.to + i;
            EXPECT_TRUE(bytes.insert(to).second);
            // Back to what the slot's byte is of: values first, metadata behind those of all units.
            const bool metadata = to >= run_units * kUnitValueBytes;
            const int size = metadata ? kUnitMetadataBytes : kUnitValueBytes;
            const int place = metadata ? to - run_units * kUnitValueBytes : to;
            const int unit = first + place / size;
            EXPECT_EQ(copy.unit / kBlockUnits, unit / kBlockUnits);
            EXPECT_EQ(copy.from + i,
                      (metadata ? kValueBytes : 0) + unit % kBlockUnits * size + place % size);
          }
        }
        EXPECT_EQ(total, units * kUnitBytes);
      }
}

TEST(DecodeRing, LanesPointAtWhatTheOtherKernelsLoad) {
  // Matrix m of ldmatrix is register m of the instruction: its row r, word t is that of lane 4r +
  // t.
  for (int j = 0; j < 2; ++j)
    for (int lane = 0; lane < 32; ++lane)
      for (int word = 0; word < 4; ++word) {
        const int i = 4 * j + lane / 8;
        EXPECT_EQ(slot_row(lane, j) + 4 * word, value_offset(i % 2, i / 2, lane % 8 * 4 + word));
        EXPECT_EQ(slot_row(lane, j), slot_row(lane, 0) + slot_row(0, j));
      }
  for (int unit = 0; unit < kBlockUnits; ++unit) {
    EXPECT_EQ(unit * kUnitValueBytes, value_offset(2 * unit, 0, 0));
    EXPECT_EQ(kValueBytes + unit * kUnitMetadataBytes, metadata_offset(unit, 0));
  }
}

TEST(DecodeRing, EverySumHasAPlace) {
  std::set<int> places;
  for (int row = 0; row < 16; ++row)
    for (int token = 0; token < 16; ++token) {
      const int place = ring_sum_offset(row, token);
      EXPECT_TRUE(places.insert(place).second);
      // Lane 4g + t has rows g and g + 8 of tokens 2t and 2t + 1.
      EXPECT_EQ(place % kFragmentBytes / 16, row % 8 * 4 + token % 8 / 2);
      EXPECT_EQ(place % 16 / 4, row / 8 * 2 + token % 2);
    }
  EXPECT_EQ(*places.rbegin() + 4, 2 * kFragmentBytes);
}

TEST(DecodeRing, SlicesAreThoseOfTheOtherKernels) {
  for (const int steps : {0, 1, 3, 16, 100, 1024})
    for (int shift = 0; shift <= 4; ++shift)
      for (int i = 0; i <= 1 << shift; ++i)
        EXPECT_EQ(ring_slice_begin(steps, i, shift), slice_begin(steps, i, 1 << shift));
}

TEST(DecodeRing, UnitsAreDealtOutEvenly) {
  for (const int units : {1, 4, 131, 132, 133, 256, 896, 1792})
    for (const int tiles : {1, 33, 132, 264}) {
      const UnitShare s = share_units(units, tiles);
      EXPECT_EQ(s.tiles, std::min(units, tiles));
      EXPECT_EQ(first_unit_of(s, 0), 0);
      EXPECT_EQ(first_unit_of(s, s.tiles), units);
      for (int i = 0; i < s.tiles; ++i) {
        const int count = first_unit_of(s, i + 1) - first_unit_of(s, i);
        EXPECT_GE(count, units / s.tiles);
        EXPECT_LE(count, s.most());
      }
    }
}

TEST(DecodeRing, ATilesVectorsHaveRoom) {
  for (const char* pattern :
       {"4:2:8", "16:2:8", "20:2:8", "32:2:8", "48:2:8", "64:2:8", "96:2:8", "128:2:16"})
    for (const std::int64_t rows : {1, 17, 300, 1000, 4096})
      for (const bool cut : {false, true}) {
        if (cut && rows < 300) continue;
        WeightShape shape{rows, 256, {}, {}};
        if (cut) shape.row_segments = {100, rows - 100};
        const PackPlan plan = plan_pack(Grid(Pattern::parse(pattern), shape), false);
        for (const int units : {1, 2, 3, 5, 16})
          for (std::size_t first = 0; first + static_cast<std::size_t>(units) <= plan.units.size();
               ++first) {
            const int vectors = plan.units[first + static_cast<std::size_t>(units) - 1].vector -
                                plan.units[first].vector + 1;
            ASSERT_LE(vectors, most_vectors(units, plan.block_vectors))
                << pattern << " " << rows << " " << first;
          }
      }
}

}  // namespace
}  // namespace coppice::cuda::decode
