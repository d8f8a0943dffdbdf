// Expansion of V:2:M to 2:4 (kernels/spread_layout.h): reads the records and column lists once and
// writes the records of 2:4 once. Floor: these bytes at the rate of a copy.
//
// A warp has 16 windows of a unit of 16 rows: lane 4g + t four of them of rows g and g + 8, which
// are 16 bytes of values a row, and makes of every 4 quads 16 bytes of values and half a word of
// metadata. M = 5: lanes take five windows, twice. So a warp writes runs of 128 bytes. Columns
// alive are decoded once a window and handed around.
//
// H200: docs/performance/vnm.md.
#include "cuda/kernels/spread_layout.h"
#include "cuda/launch.h"
#include "cuda/ptx/launch.h"
#include "cuda/unpack/row_tiles.h"

namespace coppice::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kResidents = 3;
constexpr std::uint32_t kFullMask = 0xFFFFFFFF;

struct SpreadShape {
  std::int32_t turns = 0;    // parts of the columns, one a warp
  std::int32_t units = 0;    // with those that fill the last block of the output
  std::int32_t windows = 0;  // of M columns, the last may be short
};

/// The unit of a warp. Behind the last there are units of rows that are not, up to a whole block.
__device__ inline RowUnit unit_of(const SpreadArguments& p, int unit) {
  if (unit < p.unit_count) {
    const int4 raw = __ldg(reinterpret_cast<const int4*>(p.units + unit));
    return {raw.x, raw.y, raw.z, raw.w};
  }
  const int row = p.rows + (unit - p.unit_count) * kUnitRows;
  return {row, min(kUnitRows, p.out.blocks * kBlockRows - row), -1, 0};
}

/// The bytes of a quad of a list, of less than 8.
__device__ inline std::uint32_t load_bits(const std::byte* quad, int quad_bytes) {
  if (quad_bytes == 4) return __ldg(reinterpret_cast<const std::uint32_t*>(quad));
  if (quad_bytes == 2) return __ldg(reinterpret_cast<const std::uint16_t*>(quad));
  const auto* bytes = reinterpret_cast<const unsigned char*>(quad);
  std::uint32_t bits = __ldg(bytes);
  if (quad_bytes == 3) bits |= __ldg(bytes + 1) << 8 | __ldg(bytes + 2) << 16;
  return bits;
}

/// The columns alive of a window, a byte each. Of a short window the last follow each other: no
/// values are there, but they have to ascend.
__device__ inline std::uint32_t decode_offsets(const ColumnLists& lists, const std::byte* quad) {
  std::uint32_t bits = load_bits(quad, lists.quad_bytes), offsets = 0;
  int last = -1;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    int offset;
    if (lists.quad_bytes == 1) {
      offset = lowest_bit(bits);  // -1 behind the last
      bits &= bits - 1;
    } else {
      offset = bits >> (2 * lists.quad_bytes * i) & ((1u << 2 * lists.quad_bytes) - 1);
    }
    last = max(offset, last + 1);
    offsets |= static_cast<std::uint32_t>(last) << 8 * i;
  }
  return offsets;
}

/// A warp's part: a unit of rows, and some windows.
struct WarpPlace {
  int block, unit, turn;  // the unit of the block

  __device__ int number() const { return block * kBlockUnits + unit; }
};

/// The columns alive of window `window`, decoded by one lane.
__device__ inline std::uint32_t window_offsets(const SpreadArguments& p, const SpreadShape& shape,
                                               int vector, int window) {
  if (vector < 0 || window >= shape.windows) return spread::kNoOffsets;
  const std::byte* list =
      p.columns.data + std::int64_t{vector} * p.steps * kStepQuads * p.columns.quad_bytes;
  return decode_offsets(p.columns, list + window * p.columns.quad_bytes);
}

/// Where a row of a unit and the one 8 below lie in the records.
class SourceRows {
 public:
  /// `row`: of the block.
  __device__ SourceRows(const SpreadArguments& p, int block, int row, bool exist)
      : steps_(exist ? p.steps : 0) {
    const std::byte* records = p.records + std::int64_t{block} * p.steps * kRecordBytes;
    values_ = records + value_byte(row, 0);
    pairs_ = records + kValueBytes + metadata_place(row, 0).word * 4;
  }
  __device__ bool has(unsigned window) const { return window / kStepQuads < steps_; }
  /// The values of windows from `window` on; of the other row kCoreRowBytes behind.
  __device__ const std::byte* values(unsigned window) const {
    static_assert(value_byte(0, 2) == 4 && value_byte(0, 8) == kCoreBytes);
    return values_ + (window / kStepQuads * kRecordBytes + window % kStepQuads / 4 * kCoreBytes +
                      window % 4 * 4);
  }
  /// The word that has the pairs of both rows for four windows.
  __device__ std::uint32_t pairs(unsigned window) const {
    static_assert(metadata_place(0, 4).word == 1);
    return __ldg(reinterpret_cast<const std::uint32_t*>(
        pairs_ + (window / kStepQuads * kRecordBytes + window % kStepQuads / 4 * 4)));
  }

 private:
  const std::byte *values_, *pairs_;
  unsigned steps_;
};

/// Four quads of rows g and g + 8.
struct QuadRows {
  std::uint32_t values[2][4];
  std::uint32_t metadata[2] = {};

  __device__ void set(int h, int i, const spread::Quad& quad) {
    values[h][i] = quad.values;
    metadata[h] |= quad.metadata << 4 * i;
  }
  /// Behind those there are, of which the first is dropped.
  __device__ void push(int h, const spread::Quad& quad) {
#pragma unroll
    for (int i = 0; i < 3; ++i) values[h][i] = values[h][i + 1];
    values[h][3] = quad.values;
    metadata[h] = metadata[h] >> 4 | quad.metadata << 12;
  }
};

/// Where rows g and g + 8 of a unit lie in the output.
class OutputRows {
 public:
  __device__ OutputRows(const RecordsOutput& out, const RowUnit& unit, int g)
      : rows_(unit.rows <= g       ? 0
              : unit.rows <= g + 8 ? 1
                                   : 2),
        whole_(unit.rows == kUnitRows && unit.row % kUnitRows == 0) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const unsigned row = unit.row + g + 8 * h;
      const int in_block = static_cast<int>(row % kBlockRows);
      std::byte* record = out.records + std::int64_t{row / kBlockRows} * out.steps * kRecordBytes;
      values_[h] = record + value_byte(in_block, 0);
      const MetadataPlace at = metadata_place(in_block, 0);
      metadata_[h] = record + kValueBytes + at.word * 4 + at.shift / 8;
    }
  }
  /// `part`: which 16 slots of a step.
  __device__ void store(int step, int part, const QuadRows& quads) const {
    const int values_at = step * kRecordBytes + part * kCoreBytes;
    const int metadata_at = step * kRecordBytes + part * 4;
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      if (h >= rows_) break;
      *reinterpret_cast<uint4*>(values_[h] + values_at) = make_uint4(
          quads.values[h][0], quads.values[h][1], quads.values[h][2], quads.values[h][3]);
      if (!whole_)
        *reinterpret_cast<std::uint16_t*>(metadata_[h] + metadata_at) =
            static_cast<std::uint16_t>(quads.metadata[h]);
    }
    if (whole_)
      *reinterpret_cast<std::uint32_t*>(metadata_[0] + metadata_at) =
          quads.metadata[0] | quads.metadata[1] << 16;
  }

 private:
  std::byte *values_[2], *metadata_[2];
  int rows_;
  bool whole_;  // both rows in one word of metadata
};

/// Quads of a window side by side. `kQuads`: of it; 0: any.
template <int kQuads>
struct InOrder {
  static constexpr int kTurnWindows = kStepQuads, kLaneWindows = kTurnWindows / 4;

  static __device__ void make(const SpreadArguments& p, const SpreadShape& shape, int vector,
                              const SourceRows& from, const OutputRows& out, int turn, int lane) {
    const int quads = kQuads > 0 ? kQuads : p.columns.group / 4, t = lane % 4;
    const unsigned first = turn * kTurnWindows + t * kLaneWindows;
    uint4 raw[2] = {};
    std::uint32_t pairs = 0x11111111 * spread::kNoPair;
    if (from.has(first)) {
      raw[0] = __ldg(reinterpret_cast<const uint4*>(from.values(first)));
      raw[1] = __ldg(reinterpret_cast<const uint4*>(from.values(first) + kCoreRowBytes));
      pairs = from.pairs(first);
    }
    const std::uint32_t words[2][kLaneWindows] = {{raw[0].x, raw[0].y, raw[0].z, raw[0].w},
                                                  {raw[1].x, raw[1].y, raw[1].z, raw[1].w}};
    const std::uint32_t mine =
        window_offsets(p, shape, vector, turn * kTurnWindows + lane % kTurnWindows);
    unsigned part = (turn * 4 + t) * quads;  // of 16 slots, of all
    QuadRows made;
    int count = 0;
#pragma unroll
    for (int i = 0; i < kLaneWindows; ++i) {
      const std::uint32_t offsets = __shfl_sync(kFullMask, mine, t * kLaneWindows + i);
      const spread::Kept kept[2] = {spread::kept_of(words[0][i], pairs >> 4 * i, offsets),
                                    spread::kept_of(words[1][i], pairs >> (16 + 4 * i), offsets)};
#pragma unroll(kQuads > 0 ? kQuads : 1)
      for (int q = 0; q < quads; ++q) {
#pragma unroll
        for (int h = 0; h < 2; ++h) made.push(h, spread::quad_of(kept[h], q));
        if (++count % 4 != 0) continue;
        if (part / 4 < static_cast<unsigned>(p.out.steps))
          out.store(static_cast<int>(part / 4), static_cast<int>(part % 4), made);
        ++part;
      }
    }
  }
};

/// M = 5: lane 4g + t makes product t of two steps.
struct InFives {
  static constexpr int kWindows = spread::product_windows(5), kPairWindows = 4 * kWindows;
  static constexpr int kPairs = 2;  // of steps, a warp
  static constexpr int kTurnWindows = kPairs * kPairWindows;

  static __device__ void make(const SpreadArguments& p, const SpreadShape& shape, int vector,
                              const SourceRows& from, const OutputRows& out, int turn, int lane) {
#pragma unroll
    for (int pair = turn * kPairs; pair < turn * kPairs + kPairs; ++pair)
      make_pair(p, shape, vector, from, out, pair, lane);
  }

 private:
  static __device__ void make_pair(const SpreadArguments& p, const SpreadShape& shape, int vector,
                                   const SourceRows& from, const OutputRows& out, int pair,
                                   int lane) {
    const int t = lane % 4;
    const std::uint32_t mine =
        window_offsets(p, shape, lane < kPairWindows ? vector : -1, pair * kPairWindows + lane);
    spread::Kept kept[2][kWindows];
    load(from, pair * kPairWindows + t * kWindows, kept);
#pragma unroll
    for (int i = 0; i < kWindows; ++i) {
      const std::uint32_t offsets = __shfl_sync(kFullMask, mine, t * kWindows + i);
#pragma unroll
      for (int h = 0; h < 2; ++h)
        kept[h][i] = spread::kept_of(kept[h][i].word, kept[h][i].first, offsets);
    }
    const spread::FiveQuads five[2] = {spread::five_quads(kept[0]), spread::five_quads(kept[1])};
    const int step = 2 * pair + t / 2;
    if (step >= p.out.steps) return;
#pragma unroll
    for (int part = 0; part < 2; ++part) {
      QuadRows made;
#pragma unroll
      for (int i = 0; i < 8; ++i) made.set(i % 2, i / 2, five[i % 2].quads[4 * part + i / 2]);
      out.store(step, t % 2 * 2 + part, made);
    }
  }
  /// Words, and as `first` pairs.
  static __device__ void load(const SourceRows& from, unsigned first,
                              spread::Kept (&kept)[2][kWindows]) {
    std::uint32_t words[2] = {0x11111111 * spread::kNoPair, 0x11111111 * spread::kNoPair};
#pragma unroll
    for (int i = 0; i < 2; ++i)
      if (from.has(first + 4 * i)) words[i] = from.pairs(first + 4 * i);
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      // 16 bits of a row from each word, of which the first window's come first.
      const std::uint32_t pairs =
          __byte_perm(words[0], words[1], h == 0 ? 0x5410 : 0x7632) >> 4 * (first % 4);
#pragma unroll
      for (int i = 0; i < kWindows; ++i) kept[h][i] = {0, pairs >> 4 * i, 0};
    }
#pragma unroll
    for (int i = 0; i < kWindows; ++i) {
      if (!from.has(first + i)) continue;
      const std::byte* values = from.values(first + i);
      kept[0][i].word = __ldg(reinterpret_cast<const std::uint32_t*>(values));
      kept[1][i].word = __ldg(reinterpret_cast<const std::uint32_t*>(values + kCoreRowBytes));
    }
  }
};

template <typename Order>
__global__ void __launch_bounds__(kThreads, kResidents)
    spread_kernel(const __grid_constant__ SpreadArguments p,
                  const __grid_constant__ SpreadShape shape) {
  ptx::let_next_kernel_begin();
  ptx::wait_for_kernels_before();
  write_row_tiles(p.out, p.rows);
  const unsigned warp = blockIdx.x * (kThreads / 32) + threadIdx.x / 32;
  const auto turns = static_cast<unsigned>(shape.turns);
  // The four units of a block side by side: they write the same records.
  const unsigned block = warp / (kBlockUnits * turns), left = warp - block * kBlockUnits * turns;
  const WarpPlace at{static_cast<int>(block), static_cast<int>(left % kBlockUnits),
                     static_cast<int>(left / kBlockUnits)};
  if (at.number() >= shape.units) return;
  const RowUnit unit = unit_of(p, at.number());
  if (unit.rows == 0) return;
  const int lane = static_cast<int>(threadIdx.x % 32);
  const SourceRows from(p, at.block, at.unit * kUnitRows + lane / 4, unit.vector >= 0);
  Order::make(p, shape, unit.vector, from, OutputRows(p.out, unit, lane / 4), at.turn, lane);
}

template <typename Order>
void launch_order(const SpreadArguments& p, cudaStream_t stream) {
  const int group = p.columns.group;
  SpreadShape shape;
  shape.windows = (p.cols + group - 1) / group;
  shape.turns = (shape.windows + Order::kTurnWindows - 1) / Order::kTurnWindows;
  const int missing = p.out.blocks * kBlockRows - p.rows;
  shape.units = p.unit_count + (missing + kUnitRows - 1) / kUnitRows;
  const std::int64_t blocks = (shape.units + kBlockUnits - 1) / kBlockUnits;
  const std::int64_t warps = blocks * kBlockUnits * shape.turns;
  const LaunchShape how = {
      .grid = dim3(static_cast<unsigned>((warps * 32 + kThreads - 1) / kThreads)),
      .threads = kThreads,
      .overlaps = true};
  launch(spread_kernel<Order>, how, stream, "launching the expansion of a weight", p, shape);
}

}  // namespace

void launch_spread(const SpreadArguments& p, cudaStream_t stream) {
  const int group = p.columns.group;
  if (group == 5)
    launch_order<InFives>(p, stream);
  else if (group <= 8)
    launch_order<InOrder<2>>(p, stream);
  else if (group == 12)
    launch_order<InOrder<3>>(p, stream);
  else if (group == 16)
    launch_order<InOrder<4>>(p, stream);
  else
    launch_order<InOrder<0>>(p, stream);
}

}  // namespace coppice::cuda
