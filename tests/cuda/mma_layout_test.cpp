// Follows products of the mma kernels through shared memory on the host: who copies what where,
// what ldmatrix finds there, and what mma.sp makes of it, with the index arithmetic of the kernels.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "cpu/random_weight.h"
#include "cuda/host_pack.h"
#include "cuda/kernels/sparse_mma_layout.h"

namespace coppice::cuda::mma {
namespace {

using cpu::Random;

struct Problem {
  SparseMatrix weight;
  HostPack pack;
  std::int64_t tokens;
  std::vector<std::uint16_t> x;  // [cols][tokens]
  std::vector<float> want;       // [rows][tokens]

  std::int64_t rows() const { return weight.view().grid->rows(); }
  std::int64_t cols() const { return weight.view().grid->cols(); }
  bool in_order() const { return pack.plan.in_order; }
};

Problem make_problem(const char* pattern, std::int64_t rows, std::int64_t cols,
                     std::int64_t tokens) {
  Random random(static_cast<std::uint64_t>(rows + cols));
  SparseMatrix weight = cpu::random_weight(random, Pattern::parse(pattern), rows, cols, Dtype::f16);
  HostPack pack = pack_on_host(weight.view(), 1);
  Problem p{std::move(weight), std::move(pack), tokens, {}, {}};
  p.x.resize(static_cast<std::size_t>(cols * tokens));
  from_float(Dtype::f16, cpu::random_floats(random, cols * tokens),
             reinterpret_cast<std::byte*>(p.x.data()));
  std::vector<std::byte> dense(static_cast<std::size_t>(rows * cols * 2));
  decompress(p.weight.view(), {dense.data(), Dtype::f16, rows, cols, 0});
  std::vector<float> w(static_cast<std::size_t>(rows * cols));
  to_float(Dtype::f16, dense.data(), w);
  p.want.resize(static_cast<std::size_t>(rows * tokens));
  for (std::int64_t r = 0; r < rows; ++r)
    for (std::int64_t c = 0; c < cols; ++c)
      for (std::int64_t t = 0; t < tokens; ++t)
        p.want[static_cast<std::size_t>(r * tokens + t)] +=
            w[static_cast<std::size_t>(r * cols + c)] *
            to_float(Dtype::f16, p.x[static_cast<std::size_t>(c * tokens + t)]);
  return p;
}

using Fragment = std::array<std::array<std::uint16_t, 2>, 4>;  // four registers of two elements

// One tile of a product: stage after stage is filled by all threads, then read by all warps.
template <MmaKernel kKernel>
class Tile {
 public:
  using At = Stage<kKernel>;

  Tile(const Problem& p, int stage_rows, int row_tile, int token_tile)
      : p_(p),
        first_block_(row_tile * kKernel.row_warps),
        first_token_(token_tile * kKernel.tile_tokens()),
        stage_rows_(stage_rows),
        memory_(static_cast<std::size_t>(stage_bytes(kKernel, stage_rows)), 0xFF) {
    const int parts = kKernel.lists();
    for (int part = 0; part < parts; ++part) {
      const bool next = part > 0 && vector(part) != vector(part - 1);
      list_of_.push_back(part == 0 ? 0 : list_of_.back() + next);
    }
  }

  void run() {
    for (stage_ = 0; stage_ < p_.pack.plan.steps * 2 / kKernel.halves; ++stage_) {
      for (int thread = 0; thread < kKernel.threads(); ++thread) copy(thread);
      for (int warp = 0; warp < kKernel.row_warps * kKernel.token_warps; ++warp)
        for (int half = 0; half < kKernel.halves; ++half) multiply(warp, half);
    }
    compare();
  }

 private:
  std::int64_t vector(int part) const {
    const auto& units = p_.pack.plan.units;
    const auto unit = static_cast<std::size_t>(first_block_ * kBlockUnits +
                                               part * (kBlockUnits / kKernel.vectors));
    return units[std::min(unit, units.size() - 1)].vector;
  }
  // What the warps and threads decode of the stage's part of a packed list.
  int listed(int part, int place) const {
    const PackPlan& plan = p_.pack.plan;
    const std::int64_t first =
        (vector(part) * plan.steps * kStepQuads + stage_ * (kKernel.places() / 4)) *
        plan.quad_bytes;
    const PackedPlace at = packed_place(place, plan.quad_bytes);
    std::uint32_t bits = 0;
    for (int i = 0; i < 2; ++i)
      if (const auto byte = static_cast<std::size_t>(first + at.byte + i);
          byte < p_.pack.columns.size())
        bits |= static_cast<std::uint32_t>(p_.pack.columns[byte]) << (8 * i);
    return static_cast<int>(listed_column(bits >> at.shift, place, plan.quad_bytes, group()));
  }
  int group() const { return p_.weight.view().grid->pattern().group; }

  void put(int target, const void* source) {
    ASSERT_LE(static_cast<std::size_t>(target) + 16, memory_.size());
    std::memcpy(memory_.data() + target, source, 16);
  }

  void copy(int thread) {
    const WeightCopy<kKernel> weight(thread);
    if (const std::int64_t block = first_block_ + weight.block; block < p_.pack.plan.blocks) {
      const std::byte* record =
          p_.pack.records.data() +
          (block * p_.pack.plan.steps + stage_ * kKernel.halves / 2) * kRecordBytes;
      for (int i = 0; i < WeightCopy<kKernel>::kCopies; ++i)
        put(weight.target(i), record + weight.source(0, kKernel.halves == 2 ? 0 : stage_ % 2) +
                                  WeightCopy<kKernel>::source_step(i));
      if (weight.first < kMetadataBytes / 16)
        put(weight.block * At::kBlock + At::kValues + weight.first * 16,
            record + kValueBytes + weight.first * 16);
    }
    using Rows = RowCopy<kKernel>;
    const Rows rows(thread);
    for (int i = 0; rows.row + i * Rows::kRowsAtOnce < stage_rows_; ++i)
      for (int part = 0; part < Rows::kOfRow; ++part) {
        const std::int64_t first = first_token_ + part * 64 + rows.chunk * 8;
        const std::int64_t column = source_column(rows.row + i * Rows::kRowsAtOnce);
        std::array<std::uint16_t, 8> tokens = {};
        for (int t = 0; t < 8 && first + t < p_.tokens; ++t)
          tokens[t] = p_.x[static_cast<std::size_t>(column * p_.tokens + first + t)];
        put(At::kRows + rows.target(i) + part * 128, tokens.data());
      }
  }
  std::int64_t source_column(int row) const {
    std::int64_t col = static_cast<std::int64_t>(stage_) * stage_rows_ + row;
    if (kKernel.rows == MmaRows::gathered) {
      const int list = row / kKernel.places();
      if (list > list_of_.back()) return 0;
      const auto part = static_cast<int>(std::ranges::find(list_of_, list) - list_of_.begin());
      col = listed(part, row % kKernel.places());
      if (p_.pack.plan.quad_bytes != kColumnQuadBytes)
        col += stage_ * (kKernel.places() / 4) * group();
    }
    return std::min(col, p_.cols() - 1);
  }

  std::uint16_t element(int address, int i) const {
    std::uint16_t value;
    std::memcpy(&value, &memory_.at(static_cast<std::size_t>(address + 2 * i)), 2);
    return value;
  }
  // ldmatrix.x4: what lane `lane` gets if lane l points at addresses[l].
  Fragment load(const std::array<int, 32>& addresses, int lane, bool transposed) const {
    Fragment out;
    for (int m = 0; m < 4; ++m)
      for (int e = 0; e < 2; ++e) {
        const int major = lane / 4, minor = lane % 4 * 2 + e;
        out[m][e] = transposed ? element(addresses[m * 8 + minor], major)
                               : element(addresses[m * 8 + major], minor);
      }
    return out;
  }

  void multiply(int warp, int half) {
    const int row_warp = warp / kKernel.token_warps, token_warp = warp % kKernel.token_warps;
    if (first_block_ + row_warp >= p_.pack.plan.blocks) return;
    for (int unit = 0; unit < kBlockUnits; ++unit) {
      const int part = row_warp * kKernel.vectors + unit * kKernel.vectors / kBlockUnits;
      std::array<int, 32> values, rows;
      for (int lane = 0; lane < 32; ++lane) {
        values[lane] = row_warp * At::kBlock + value_address<kKernel>(lane, half) +
                       unit * kUnitValues<kKernel>;
        int row = half * kHalfCols + lane;
        if (kKernel.rows == MmaRows::window) row = listed(part, row);
        if (kKernel.rows == MmaRows::gathered) row += list_of_[part] * kKernel.places();
        rows[lane] = At::kRows + row_address<kKernel>(row, token_warp);
      }
      for (int j = 0; j < 8; ++j) {
        std::array<int, 32> tokens;
        for (int lane = 0; lane < 32; ++lane) tokens[lane] = rows[lane] ^ 16 * j;
        multiply_unit(unit, row_warp, token_warp * 64 + 8 * j, half, values, tokens);
      }
    }
  }

  // mma.sp m16n8k32: B as [k][token] from its fragments, then row by row.
  void multiply_unit(int unit, int row_warp, int token, int half, const std::array<int, 32>& values,
                     const std::array<int, 32>& tokens) {
    float b[32][8];
    for (int lane = 0; lane < 32; ++lane) {
      const Fragment f = load(tokens, lane, true);
      for (int i = 0; i < 4; ++i)
        for (int e = 0; e < 2; ++e)
          b[8 * i + lane % 4 * 2 + e][lane / 4] = to_float(Dtype::f16, f[i][e]);
    }
    const int selector = kKernel.halves == 2 ? half : stage_ % 2;
    for (int lane = 0; lane < 32; ++lane) {
      const Fragment a = load(values, lane, false);
      for (int i = 0; i < 4; ++i) {
        const int row = lane / 4 + 8 * (i % 2), quad = lane % 4 + 4 * (i / 2);
        const int holder = lane / 4 * 4 + 2 * selector + quad / 4;  // of the metadata
        std::uint32_t word;
        std::memcpy(&word,
                    &memory_[static_cast<std::size_t>(row_warp * At::kBlock + At::kValues +
                                                      unit * 128 + holder * 4)],
                    4);
        const unsigned bits = word >> (16 * (i % 2) + 4 * (quad % 4)) & 15;
        for (int e = 0; e < 2; ++e)
          for (int n = 0; n < 8; ++n)
            sum(row_warp * kBlockRows + unit * kUnitRows + row, token + n) +=
                to_float(Dtype::f16, a[i][e]) * b[4 * quad + (bits >> 2 * e & 3)][n];
      }
    }
  }

  float& sum(int row, int token) {
    sums_.resize(static_cast<std::size_t>(kKernel.row_warps * kBlockRows * kKernel.tile_tokens()));
    return sums_[static_cast<std::size_t>(row * kKernel.tile_tokens() + token)];
  }

  void compare() {
    for (int unit = 0; unit < kKernel.row_warps * kBlockUnits; ++unit) {
      const auto at = static_cast<std::size_t>(first_block_ * kBlockUnits + unit);
      if (at >= p_.pack.plan.units.size()) break;
      const RowUnit& place = p_.pack.plan.units[at];
      for (int r = 0; r < place.rows; ++r)
        for (int t = 0; t < kKernel.tile_tokens() && first_token_ + t < p_.tokens; ++t)
          ASSERT_NEAR(
              sum(unit * kUnitRows + r, t),
              p_.want[static_cast<std::size_t>((place.row + r) * p_.tokens + first_token_ + t)],
              1e-3)
              << "row " << place.row + r << " token " << first_token_ + t;
    }
  }

  const Problem& p_;
  int first_block_, first_token_, stage_rows_, stage_ = 0;
  std::vector<int> list_of_;
  std::vector<std::uint8_t> memory_;
  std::vector<float> sums_;
};

// Runs the kernel number kIndex, if it is for such a problem. @returns whether it is.
template <std::size_t kIndex>
bool run(const Problem& p) {
  constexpr MmaKernel kKernel = kMmaKernels[kIndex];
  ProductInfo info;
  info.in_order = p.in_order();
  info.blocks = p.pack.plan.blocks;
  info.steps = p.pack.plan.steps;
  info.block_vectors = p.pack.plan.block_vectors;
  info.tile_lists = p.pack.plan.tile_lists;
  info.group = p.weight.view().grid->pattern().group;
  info.regular = p.pack.plan.regular;
  for (const MmaShape& shape : mma_shapes(info, {132, 90, 60 << 20, 227 * 1024, true})) {
    if (shape.kernel != static_cast<int>(kIndex)) continue;
    SCOPED_TRACE(fmt::format("kernel {} {}", kIndex, p.weight.view().grid->pattern().to_string()));
    const auto tiles =
        static_cast<int>(p.pack.plan.blocks + kKernel.row_warps - 1) / kKernel.row_warps;
    for (int row_tile = 0; row_tile < tiles; ++row_tile)
      for (int t = 0; t * kKernel.tile_tokens() < p.tokens; ++t)
        Tile<kKernel>(p, shape.stage_rows, row_tile, t).run();
    return true;
  }
  return false;
}

TEST(MmaLayout, EveryKernelMultiplies) {
  std::array<int, kMmaKernels.size()> runs = {};
  for (const char* pattern : {"2:4", "64:2:5", "64:2:8", "128:2:8", "192:2:12", "32:2:7", "48:2:8",
                              "16:2:8", "16:2:16"}) {
    const Problem p = make_problem(pattern, 200, 150, 135);
    [&]<std::size_t... kIndex>(std::index_sequence<kIndex...>) {
      ((runs[kIndex] += run<kIndex>(p)), ...);
    }
    (std::make_index_sequence<kMmaKernels.size()>());
  }
  for (std::size_t i = 0; i < runs.size(); ++i) EXPECT_GT(runs[i], 0) << "kernel " << i;
}

// Every form of packed lists, read as the kernels do: two bytes and a shift for a column.
TEST(MmaLayout, PackedListsSayTheColumnsOfTheirQuads) {
  Random random(5);
  constexpr int kQuads = 8;
  for (const int group : {5, 8, 9, 16, 33, 64, 200, 256})
    for (const bool regular : {true, false}) {
      const int bytes = column_quad_bytes(group, regular);
      std::vector<std::uint8_t> list(kQuads * bytes + 1, 0xA5);  // what lies behind does not count
      std::vector<int> want;
      for (int quad = 0; quad < kQuads; ++quad) {
        std::vector<int> offsets;
        while (offsets.size() < 4)
          if (const int offset = cpu::random_int(random, 0, group - 1);
              std::ranges::find(offsets, offset) == offsets.end())
            offsets.push_back(offset);
        std::ranges::sort(offsets);
        std::uint64_t bits = 0;
        for (int i = 0; i < 4; ++i) {
          const int column = quad * group + offsets[i];
          const auto offset = static_cast<std::uint64_t>(offsets[i]);
          bits |= bytes == 8   ? static_cast<std::uint64_t>(column) << 16 * i
                  : bytes == 1 ? std::uint64_t{1} << offset
                               : offset << 2 * bytes * i;
          want.push_back(column);
        }
        for (int b = 0; b < bytes; ++b)
          list[static_cast<std::size_t>(quad * bytes + b)] =
              static_cast<std::uint8_t>(bits >> 8 * b);
      }
      for (int place = 0; place < 4 * kQuads; ++place) {
        const PackedPlace at = packed_place(place, bytes);
        const auto byte = static_cast<std::size_t>(at.byte);
        const unsigned two = list[byte] | static_cast<unsigned>(list[byte + 1]) << 8;
        EXPECT_EQ(listed_column(two >> at.shift, place, bytes, group),
                  static_cast<std::uint32_t>(want[static_cast<std::size_t>(place)]))
            << "M = " << group << ", " << bytes << " bytes a quad, place " << place;
      }
    }
}

// Eight rows that ldmatrix reads together lie in different banks if they differ mod 8.
TEST(MmaLayout, ConsecutiveRowsHaveNoBankConflicts) {
  constexpr MmaKernel kKernel = kMmaKernels[0];
  for (int first = 0; first < 32; first += 8) {
    unsigned banks = 0, values = 0;
    for (int row = first; row < first + 8; ++row) {
      banks |= 1u << row_address<kKernel>(row, 1) / 16 % 8;
      values |= 1u << value_address<kKernel>(row, 0) / 16 % 8;
    }
    EXPECT_EQ(banks, 255u);
    EXPECT_EQ(values, 255u);
  }
}

}  // namespace
}  // namespace coppice::cuda::mma
