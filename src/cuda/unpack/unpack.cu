// Expansion of packed weights: reads their bytes once and writes the other form once, by stores of
// 16 bytes. A thread block clears a tile of rows in shared memory, puts every value that is not +0
// in its place there (padding is +0), and writes the tile. The tile is a window of columns where
// groups follow each other in order; of weights with permuted columns, or groups that start anew,
// every row is read as a whole for each of its windows, mostly one.
//
// docs/performance/unpack.md: what it reaches.
#include <algorithm>
#include <numeric>

#include "cuda/launch.h"
#include "cuda/ptx/launch.h"
#include "cuda/unpack/row_tiles.h"
#include "cuda/unpack/unpack_walk.h"

namespace coppice::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kResidents = 5;
constexpr int kPadding = 16;  // bytes behind a row, for the banks of shared memory

struct UnpackTile {
  std::int32_t rows = 8;  // a power of 2
  std::int32_t cols = 0;  // of a window, whole 16 bytes
  std::int32_t windows = 1;
  bool in_order = false;  // a window needs only its own groups ...
  bool exact = false;     // ... in whole pieces of single columns; it has room for padding, too
  std::uint32_t entry_share = 0;  // 2^32 over a group's values, rounded up; 0: one value

  __host__ __device__ int pitch(int element_bytes) const { return cols * element_bytes + kPadding; }
};

struct Pieces {
  int first, last;
};

/// The pieces that hold the columns [first, last).
__device__ inline Pieces pieces_of(const ElementLayout& l, const UnpackTile& tile, int first,
                                   int last) {
  if (!tile.in_order) return {0, l.pieces};
  const int per = l.per_piece();
  const int begin = first / l.group_cols();
  const int end = min((last + l.group_cols() - 1) / l.group_cols(), l.groups);
  if (l.in_groups()) {
    const int lanes_end = (end + kElementLanes - 1) / kElementLanes;
    return {begin / kElementLanes * l.group_entries() / per,
            min((lanes_end * l.group_entries() + per - 1) / per, l.pieces)};
  }
  const int step = kElementLanes * per;
  return {begin * l.group_entries() / step,
          min((end * l.group_entries() + step - 1) / step, l.pieces)};
}

/// Puts the values of the window [first, last) of the tile's rows in their places.
template <typename T>
__device__ inline void fill_tile(const ElementWeight& w, const UnpackTile& tile, int first_row,
                                 int first, int last, std::byte* shared) {
  constexpr int kPer = kPieceBytes / sizeof(T);
  const ElementLayout& l = w.layout;
  const Pieces pieces = pieces_of(l, tile, first, last);
  const int row_lanes = tile.rows * kElementLanes, pitch = tile.pitch(sizeof(T));
  const int lane_bits = lowest_bit(static_cast<std::uint32_t>(row_lanes));
  for (int i = pieces.first * row_lanes + static_cast<int>(threadIdx.x);
       i < pieces.last * row_lanes; i += kThreads) {
    const int lane = i & (row_lanes - 1), in_tile = lane / kElementLanes;
    PiecePlace at;
    at.row = first_row + in_tile;
    at.t = lane % kElementLanes;
    at.piece = i >> lane_bits;
    if (at.row >= l.rows) continue;
    union {
      uint4 bytes;
      T values[kPer];
    } loaded;
    loaded.bytes = __ldcs(reinterpret_cast<const uint4*>(
        w.values + piece_byte(l, at.row / 8, at.piece, at.row % 8 * kElementLanes + at.t)));
    const int entry = at.piece * kPer;
    at.lane_group =
        tile.entry_share == 0
            ? entry
            : static_cast<int>(__umulhi(static_cast<unsigned>(entry), tile.entry_share));
    at.slot = entry - at.lane_group * l.group_entries();
    T* out = reinterpret_cast<T*>(shared + in_tile * pitch) - first;
    if (tile.exact) {
      const auto put = [&](int e, int col) { out[col] = loaded.values[e]; };
      if (l.form == ChoiceForm::mask)
        walk_columns<kPer, MaskWalk>(w, at, put);
      else
        walk_columns<kPer, IndexWalk>(w, at, put);
    } else {
      walk_piece<kPer>(w, at, [&](int e, int place) {
        if (loaded.values[e] == 0) return;  // padding, of which two may have one place
        const int col = w.sources == nullptr ? place : __ldg(w.sources + place);
        if (col >= first && col < last) out[col] = loaded.values[e];
      });
    }
  }
}

__device__ inline void clear_tile(const UnpackTile& tile, int pitch, std::byte* shared) {
  for (int i = static_cast<int>(threadIdx.x); i < tile.rows * pitch / 16; i += kThreads)
    reinterpret_cast<uint4*>(shared)[i] = make_uint4(0, 0, 0, 0);
}

template <typename T>
__global__ void __launch_bounds__(kThreads, kResidents)
    unpack_dense_kernel(const __grid_constant__ UnpackArguments p,
                        const __grid_constant__ UnpackTile tile) {
  extern __shared__ __align__(16) std::byte unpack_shared[];
  const int window = blockIdx.x % tile.windows;
  const int first_row = blockIdx.x / tile.windows * tile.rows;
  const int first = window * tile.cols, pitch = tile.pitch(sizeof(T));
  const int width = static_cast<int>(min(std::int64_t{tile.cols}, p.stride - first));
  clear_tile(tile, pitch, unpack_shared);
  __syncthreads();
  fill_tile<T>(p.weight, tile, first_row, first, min(first + width, p.weight.layout.cols),
               unpack_shared);
  __syncthreads();
  const int chunks = width * static_cast<int>(sizeof(T)) / 16;
  const int rows = min(tile.rows, p.weight.layout.rows - first_row);
  for (int row = static_cast<int>(threadIdx.x) / 32; row < rows; row += kThreads / 32) {
    auto* out =
        reinterpret_cast<uint4*>(p.out + ((first_row + row) * p.stride + first) * sizeof(T));
    const auto* from = reinterpret_cast<const uint4*>(unpack_shared + row * pitch);
    for (int i = static_cast<int>(threadIdx.x) % 32; i < chunks; i += 32) out[i] = from[i];
  }
}

/// Which two of four, by which of them are not 0, as four bits each: padding is a later column
/// whose value is 0, or an earlier one if there is none.
constexpr std::uint64_t kPairs = [] {
  std::uint64_t pairs = 0;
  for (unsigned set = 0; set < 16; ++set) {
    const int first = set == 0 ? 0 : std::countr_zero(set);
    const unsigned rest = set & (set - 1);
    const int second = rest != 0 ? std::countr_zero(rest) : 3;
    const unsigned bits = set == 0     ? pair_bits(0, 1)
                          : first == 3 ? pair_bits(2, 3)
                                       : pair_bits(first, second);
    pairs |= std::uint64_t{bits} << 4 * set;
  }
  return pairs;
}();

/// 16 columns of a row as kept values and choices.
struct Quads {
  std::uint32_t values[4];
  std::uint32_t metadata = 0;

  __device__ explicit Quads(const std::byte* row) {
    const uint4 raw[2] = {reinterpret_cast<const uint4*>(row)[0],
                          reinterpret_cast<const uint4*>(row)[1]};
    const std::uint32_t words[8] = {raw[0].x, raw[0].y, raw[0].z, raw[0].w,
                                    raw[1].x, raw[1].y, raw[1].z, raw[1].w};
#pragma unroll
    for (int q = 0; q < 4; ++q) {
      const std::uint32_t low = words[2 * q], high = words[2 * q + 1];
      const unsigned set = ((low & 0x7FFFu) != 0 ? 1u : 0u) | ((low & 0x7FFF0000u) != 0 ? 2u : 0u) |
                           ((high & 0x7FFFu) != 0 ? 4u : 0u) |
                           ((high & 0x7FFF0000u) != 0 ? 8u : 0u);
      const auto pair = static_cast<std::uint32_t>(kPairs >> 4 * set) & 15u;
      values[q] = __byte_perm(low, high, 0x1010u + (pair & 3) * 0x22u + (pair >> 2) * 0x2200u);
      metadata |= pair << 4 * q;
    }
  }
};

/// A unit of 16 rows and a window of whole steps.
__global__ void __launch_bounds__(kThreads, kResidents)
    unpack_two_four_kernel(const __grid_constant__ UnpackArguments p,
                           const __grid_constant__ UnpackTile tile) {
  extern __shared__ __align__(16) std::byte unpack_shared[];
  ptx::let_next_kernel_begin();
  ptx::wait_for_kernels_before();
  write_row_tiles(p.two_four, p.weight.layout.rows);
  const int window = blockIdx.x % tile.windows, unit = blockIdx.x / tile.windows;
  const int first = window * tile.cols, pitch = tile.pitch(2);
  clear_tile(tile, pitch, unpack_shared);
  __syncthreads();
  fill_tile<std::uint16_t>(p.weight, tile, unit * kUnitRows, first,
                           min(first + tile.cols, p.weight.layout.cols), unpack_shared);
  __syncthreads();
  const int first_step = first / kStepCols;
  const int steps = min(tile.cols / kStepCols, p.two_four.steps - first_step);
  for (int i = static_cast<int>(threadIdx.x); i < steps * 32; i += kThreads) {
    const int step = i / 32, g = i % 32 / 4, part = i % 4;
    const std::byte* row = unpack_shared + g * pitch + (step * kStepCols + 16 * part) * 2;
    const Quads low(row), high(row + 8 * pitch);
    const int in_block = unit % kBlockUnits * kUnitRows + g;
    std::byte* record =
        p.two_four.records +
        (std::int64_t{unit / kBlockUnits} * p.two_four.steps + first_step + step) * kRecordBytes;
    *reinterpret_cast<uint4*>(record + value_byte(in_block, 8 * part)) =
        make_uint4(low.values[0], low.values[1], low.values[2], low.values[3]);
    *reinterpret_cast<uint4*>(record + value_byte(in_block + 8, 8 * part)) =
        make_uint4(high.values[0], high.values[1], high.values[2], high.values[3]);
    const MetadataPlace at = metadata_place(in_block, 4 * part);
    *reinterpret_cast<std::uint32_t*>(record + kValueBytes + at.word * 4) =
        low.metadata | high.metadata << 16;
  }
}

/// Columns of a window in order: whole groups, in whole pieces of every lane where groups are
/// small, so that windows do not share them.
int window_cols(const ElementLayout& l, int rows, int unit) {
  constexpr int kMost = 2048, kBytes = 16 << 10;
  // Every thread has a piece or two.
  const int wanted = kBytes / l.element_bytes / rows * (4 * l.kept >= l.group ? 1 : 2);
  const int lanes = l.in_groups() ? kElementLanes : 1;
  const int groups = l.in_groups() ? l.per_piece() / std::gcd(l.per_piece(), l.group_entries()) : 1;
  const int least = std::lcm(lanes * groups * l.group_cols(), unit);
  return least > kMost ? kMost : std::max(1, wanted / least) * least;
}

/// `unit`: of columns of a window. `rows`: of a tile, at most.
UnpackTile tile_of(const ElementWeight& w, int rows, int unit, int all_cols) {
  constexpr int kTileBytes = 64 << 10, kRowBytes = 90 << 10;  // where rows are read as a whole
  const ElementLayout& l = w.layout;
  UnpackTile tile;
  tile.rows = rows;
  tile.in_order = w.sources == nullptr && w.groups == nullptr;
  if (tile.in_order) {
    tile.cols = window_cols(l, rows, unit);
    tile.exact = l.in_groups() && l.block_cols == 1 && l.group <= MaskWalk::kMostGroup &&
                 tile.cols % (kElementLanes * l.group) == 0 &&
                 tile.cols / (kElementLanes * l.group) * l.kept % l.per_piece() == 0;
  } else {
    tile.cols = std::min(all_cols, kRowBytes / l.element_bytes / unit * unit);
    while (tile.rows > 1 && tile.rows * tile.pitch(l.element_bytes) > kTileBytes) tile.rows /= 2;
  }
  if (!tile.exact) tile.cols = std::min(tile.cols, all_cols);
  tile.windows = (all_cols + tile.cols - 1) / tile.cols;
  const std::uint64_t entries = static_cast<std::uint64_t>(l.group_entries());
  if (entries > 1)
    tile.entry_share =
        static_cast<std::uint32_t>(((std::uint64_t{1} << 32) + entries - 1) / entries);
  return tile;
}

void launch_tiles(void (*kernel)(UnpackArguments, UnpackTile), const UnpackArguments& p,
                  const UnpackTile& tile, std::int64_t row_tiles, cudaStream_t stream,
                  bool overlaps = false) {
  LaunchShape shape;
  shape.overlaps = overlaps;
  shape.grid = dim3(static_cast<unsigned>(row_tiles * tile.windows));
  shape.threads = kThreads;
  shape.shared_bytes = tile.rows * tile.pitch(p.weight.layout.element_bytes);
  launch(kernel, shape, stream, "launching the expansion of a weight", p, tile);
}

}  // namespace

void launch_unpack_dense(const UnpackArguments& p, cudaStream_t stream) {
  const ElementLayout& l = p.weight.layout;
  const UnpackTile tile = tile_of(p.weight, 8, l.per_piece(), static_cast<int>(p.stride));
  const auto kernel = l.element_bytes == 4 ? unpack_dense_kernel<std::uint32_t>
                                           : unpack_dense_kernel<std::uint16_t>;
  launch_tiles(kernel, p, tile, (l.rows + tile.rows - 1) / tile.rows, stream);
}

void launch_unpack_two_four(const UnpackArguments& p, cudaStream_t stream) {
  const UnpackTile tile = tile_of(p.weight, kUnitRows, kStepCols, p.two_four.steps * kStepCols);
  launch_tiles(unpack_two_four_kernel, p, tile, std::int64_t{p.two_four.blocks} * kBlockUnits,
               stream, true);
}

}  // namespace coppice::cuda
