// Products of 2-of-4 weights by wgmma.mma_async.sp (sm_90a).
//
// A persistent thread block works on tiles of rows() x tile_tokens() of its WgmmaShape.
// One warpgroup produces: it gathers the activations of the 64 columns of a step, row by row, with
// 16-byte cp.async into a swizzled tile (a gather costs what a contiguous tile costs: L2 to shared
// memory is the limit either way), while the copy engine brings the records of the weight. The
// other warpgroups multiply, 64 or 128 rows each, and store; the producer is then already ahead in
// the next tile, so that the copies never stop.
//
// A row tile lies within one vector, so all its rows want the same columns. Activations: feature-
// major [cols, tokens] rows of tokens (MN-major B), or for 2:4, which gathers nothing, token-major
// [tokens, cols] (K-major B). 16-byte aligned rows; any tail in rows, columns and tokens.
#include <algorithm>
#include <type_traits>

#include "cuda/check.h"
#include "cuda/kernels/columns.h"
#include "cuda/kernels/epilogue.h"
#include "cuda/kernels/sparse_wgmma.h"
#include "cuda/ptx/barrier.h"
#include "cuda/ptx/copy.h"
#include "cuda/ptx/wgmma.h"

namespace coppice::cuda {
namespace {

/// Everything that a kernel is compiled for.
struct Config {
  WgmmaShape shape;
  bool token_major = false;
  Dtype type = Dtype::f16;

  constexpr int consumers() const { return shape.row_groups * shape.token_groups; }
  constexpr int threads() const { return 128 * (consumers() + 1); }
  constexpr int tile_tokens() const { return shape.tile_tokens(); }
  constexpr int activation_bytes() const { return tile_tokens() * kStepCols * 2; }
  constexpr int weight_bytes() const { return shape.blocks() * kRecordBytes; }
  constexpr int stage_bytes() const { return activation_bytes() + weight_bytes(); }
  constexpr int blocks_per_sm() const { return shape.thread_blocks; }
  constexpr int shared_bytes() const {
    return kAlignment + kColumnBytes +
           shape.stages * (stage_bytes() + 2 * static_cast<int>(sizeof(std::uint64_t)));
  }
  /// Registers at launch; the groups then trade: producers need few, consumers many.
  constexpr int launch_registers() const {
    const int fair = 65536 / (threads() * blocks_per_sm()) / 8 * 8;
    return fair < 248 ? fair : 248;
  }
  constexpr int producer_registers() const { return consumers() == 1 ? 96 : 80; }
  constexpr int consumer_registers() const {
    const int pool = launch_registers() * (consumers() + 1) - producer_registers();
    const int share = pool / consumers() / 8 * 8;
    return share < 240 ? share : 240;
  }
  static constexpr int kAlignment = 1024;  // of a swizzled tile
  static constexpr int kColumnSteps = 16;  // steps whose columns lie in shared memory
  static constexpr int kColumnBytes = kColumnSteps * kStepCols * 2;
};

/// The pipeline in shared memory: activation tiles, then weight records, then barriers.
template <Config kConfig>
struct Pipeline {
  std::uint32_t activations, weights, columns, full, empty;
  std::uint32_t stage = 0, phase = 0;

  __device__ explicit Pipeline(const std::byte* shared) {
    const std::uint32_t base = ptx::shared_address(shared);
    activations = (base + Config::kAlignment - 1) / Config::kAlignment * Config::kAlignment;
    weights = activations + kConfig.shape.stages * kConfig.activation_bytes();
    columns = weights + kConfig.shape.stages * kConfig.weight_bytes();
    full = columns + Config::kColumnBytes;
    empty = full + kConfig.shape.stages * sizeof(std::uint64_t);
  }
  __device__ void init() const {
    for (int s = 0; s < kConfig.shape.stages; ++s) {
      ptx::barrier_init(full + 8 * s, 128 + 1);  // every producer's copies, and the copy engine
      ptx::barrier_init(empty + 8 * s, 4 * kConfig.consumers());  // every consumer warp
    }
    ptx::fence_barrier_init();
  }
  __device__ std::uint32_t activation_tile() const {
    return activations + stage * kConfig.activation_bytes();
  }
  __device__ std::uint32_t weight_tile() const { return weights + stage * kConfig.weight_bytes(); }
  __device__ void wait_full() const { ptx::barrier_wait(full + 8 * stage, phase); }
  __device__ void wait_empty() const { ptx::barrier_wait(empty + 8 * stage, phase ^ 1); }
  __device__ void advance() {
    if (++stage == kConfig.shape.stages) stage = 0, phase ^= 1;
  }
};

/// One thread's part of the gather of a feature-major step: chunk `chunk` of `kRows` rows.
template <Config kConfig>
struct Gather {
  static constexpr int kChunks = kConfig.tile_tokens() / 8;  // of 16 bytes, in a row
  static constexpr int kSlots = 128 / kChunks;               // rows side by side
  static constexpr int kRows = kStepCols / kSlots;           // rows of a thread
  static_assert(kSlots * kChunks == 128 && kRows % 4 == 0);

  const std::byte* x;  // at this thread's tokens
  std::uint32_t row_bytes;
  std::uint32_t valid;   // bytes of its chunks that exist
  std::uint32_t target;  // in a stage's tile
  int slot;
  bool whole;             // all tokens of the tile exist
  uint2 four[kRows / 4];  // columns of a step, 16 bits each

  __device__ Gather(const ProductArguments& p, int thread) {
    const int chunk = thread % kChunks;
    slot = thread / kChunks;
    const int swizzled = (chunk % 8) ^ (slot * kRows % 8);
    target = chunk / 8 * (kStepCols * 128) + slot * kRows * 128 + swizzled * 16;
    row_bytes = static_cast<std::uint32_t>(p.x_stride * 2);
  }
  __device__ void begin_tile(const ProductArguments& p, int token_tile, int thread) {
    const int token = token_tile * kConfig.tile_tokens() + thread % kChunks * 8;
    const int left = (p.tokens - token) * 2;
    valid = left <= 0 ? 0 : left < 16 ? left : 16;
    x = static_cast<const std::byte*>(p.x) + (valid ? 2 * token : 0);
    whole = (token_tile + 1) * kConfig.tile_tokens() <= p.tokens;
  }
  /// Reads the columns of a step from shared memory.
  __device__ void read_columns(std::uint32_t columns) {
#pragma unroll
    for (int i = 0; i < kRows / 4; ++i)
      four[i] = ptx::load_shared_8(columns + (slot * kRows + 4 * i) * 2);
  }
  /// All columns in order, the last one again behind the end (where the weights are 0).
  __device__ void count_columns(int step, int cols) {
    const unsigned last = cols - 1, c = step * kStepCols + slot * kRows;
#pragma unroll
    for (int i = 0; i < kRows / 4; ++i) {
      four[i].x = min(c + 4 * i, last) | min(c + 4 * i + 1, last) << 16;
      four[i].y = min(c + 4 * i + 2, last) | min(c + 4 * i + 3, last) << 16;
    }
  }
  __device__ void copy(std::uint32_t tile) const {
    if (whole)
      copy_rows<true>(tile + target);
    else
      copy_rows<false>(tile + target);
  }

 private:
  template <bool kWhole>
  __device__ void copy_rows(std::uint32_t place) const {
#pragma unroll
    for (int j = 0; j < kRows; ++j) {
      const std::uint32_t pair = j % 4 < 2 ? four[j / 4].x : four[j / 4].y;
      const std::uint32_t column = j % 2 ? pair >> 16 : pair & 0xFFFF;
      const std::byte* from = x + static_cast<std::uint64_t>(column) * row_bytes;
      const std::uint32_t to = (place ^ (j % 8 * 16)) + j * 128;
      if constexpr (kWhole)
        ptx::copy_async_16(to, from);
      else
        ptx::copy_async_16(to, from, valid);
    }
  }
};

/// The lists of columns, in shared memory 16 steps at a time, two quads a thread. The next ones
/// wait in registers, read so early that their latency (thousands of clocks, behind all copies
/// under way) does not show.
template <Config kConfig>
struct ColumnFeed {
  std::uint32_t shared;
  int thread;
  int quad = 0;
  uint2 ahead[2] = {};

  __device__ void fetch(const ProductArguments& p, const RowTile& rows, int step) {
    quad = step * kStepQuads + thread * 2;
    if (quad >= p.steps * kStepQuads) return;
    const std::byte* list = column_list(p, rows.vector);
    ahead[0] = load_quad(p, list, quad);
    ahead[1] = load_quad(p, list, quad + 1);
  }
  __device__ void publish(const ProductArguments& p) const {
    const uint2 first = quad_columns(p, ahead[0], quad);
    const uint2 second = quad_columns(p, ahead[1], quad + 1);
    ptx::group_barrier<1, 128>();  // nobody reads the former ones any more
    ptx::store_shared(shared + thread * 16, make_uint4(first.x, first.y, second.x, second.y));
    ptx::group_barrier<1, 128>();
  }
};

/// One thread's part of a token-major step: chunk `thread % 8` of every 16th token.
template <Config kConfig>
struct TokenRows {
  static constexpr int kTokens = kConfig.tile_tokens() / 16;
  const std::byte* x;
  std::int64_t token_bytes;
  std::uint32_t target;
  int chunk, tokens_left;

  __device__ TokenRows(const ProductArguments& p, int thread) {
    chunk = thread % 8;
    const int token = thread / 8;
    target = token * 128 + (chunk ^ token % 8) * 16;
    token_bytes = p.x_stride * 2;
  }
  __device__ void begin_tile(const ProductArguments& p, int token_tile, int thread) {
    const int token = token_tile * kConfig.tile_tokens() + thread / 8;
    tokens_left = p.tokens - token;
    x = static_cast<const std::byte*>(p.x) + token * token_bytes + chunk * 16;
  }
  __device__ void copy(const ProductArguments& p, std::uint32_t tile, int step) const {
    const int left = (p.cols - step * kStepCols - chunk * 8) * 2;
    const std::uint32_t valid = left <= 0 ? 0 : left < 16 ? left : 16;
#pragma unroll
    for (int j = 0; j < kTokens; ++j) {
      const bool live = valid != 0 && 16 * j < tokens_left;
      const std::byte* source = x + step * (kStepCols * 2) + j * 16 * token_bytes;
      ptx::copy_async_16(tile + target + j * 16 * 128,
                         live ? source : static_cast<const std::byte*>(p.x), live ? valid : 0);
    }
  }
};

/// The row tiles that a thread block will work on, read two tiles ahead.
struct TileWalk {
  const ProductArguments& p;
  std::int32_t tile, tiles;
  TilePlace place;
  RowTile rows, next_rows, later_rows;

  __device__ explicit TileWalk(const ProductArguments& arguments)
      : p(arguments),
        tile(blockIdx.x),
        tiles(arguments.row_tile_count * arguments.token_tile_count),
        place(place_of(tile)),
        rows(read(tile)),
        next_rows(read(tile + gridDim.x)),
        later_rows(read(tile + 2 * gridDim.x)) {}
  __device__ bool valid() const { return tile < tiles; }
  __device__ bool has_next() const { return tile + gridDim.x < tiles; }
  __device__ void advance() {
    tile += gridDim.x;
    place = place_of(tile);
    rows = next_rows;
    next_rows = later_rows;
    later_rows = read(tile + 2 * gridDim.x);
  }

 private:
  __device__ TilePlace place_of(std::int32_t t) const {
    return tile_place(t, p.row_tile_count, p.token_tile_count, p.token_group);
  }
  __device__ RowTile read(std::int32_t t) const {
    if (t >= tiles) return {};
    const int4 raw = __ldg(reinterpret_cast<const int4*>(p.row_tiles + place_of(t).row_tile));
    return {raw.x, raw.y, raw.z, raw.w};
  }
};

/// The weight's part of a tile: warp b lets the copy engine bring block b.
template <Config kConfig>
struct RecordCopies {
  const std::byte* record;
  bool announces, copies;
  std::uint32_t bytes;

  __device__ RecordCopies(const ProductArguments& p, const RowTile& rows, int thread)
      : record(p.records +
               static_cast<std::int64_t>(rows.block + thread / 32) * p.steps * kRecordBytes),
        announces(thread == 0),
        copies(thread % 32 == 0 && thread / 32 < rows.blocks),
        bytes(rows.blocks * kRecordBytes) {}
  __device__ void step(const Pipeline<kConfig>& pipe, int thread) {
    const std::uint32_t barrier = pipe.full + 8 * pipe.stage;
    if (announces) ptx::barrier_arrive_expect(barrier, bytes);
    if (copies)
      ptx::copy_bulk(pipe.weight_tile() + thread / 32 * kRecordBytes, record, kRecordBytes,
                     barrier);
    record += kRecordBytes;
  }
};

template <Config kConfig>
__device__ void produce(const ProductArguments& p, Pipeline<kConfig> pipe, int thread) {
  using Loader = std::conditional_t<kConfig.token_major, TokenRows<kConfig>, Gather<kConfig>>;
  constexpr int kColumnSteps = Config::kColumnSteps;
  Loader loader(p, thread);
  ColumnFeed<kConfig> feed{pipe.columns, thread};
  const bool gathers = !kConfig.token_major && p.columns.data != nullptr;
  TileWalk walk(p);
  if (gathers && walk.valid()) feed.fetch(p, walk.rows, 0);
  for (; walk.valid(); walk.advance()) {
    loader.begin_tile(p, walk.place.token_tile, thread);
    RecordCopies<kConfig> records(p, walk.rows, thread);
#pragma unroll 1
    for (int step = 0; step < p.steps; ++step) {
      if (gathers && step % kColumnSteps == 0) {
        feed.publish(p);
        if (step + kColumnSteps < p.steps)
          feed.fetch(p, walk.rows, step + kColumnSteps);
        else if (walk.has_next())
          feed.fetch(p, walk.next_rows, 0);
      }
      if constexpr (!kConfig.token_major) {
        if (gathers)
          loader.read_columns(pipe.columns + step % kColumnSteps * (kStepCols * 2));
        else
          loader.count_columns(step, p.cols);
      }
      pipe.wait_empty();
      records.step(pipe, thread);
      if constexpr (kConfig.token_major)
        loader.copy(p, pipe.activation_tile(), step);
      else
        loader.copy(pipe.activation_tile());
      ptx::barrier_arrive_on_copies(pipe.full + 8 * pipe.stage);
      pipe.advance();
    }
  }
  ptx::copy_async_commit();
  ptx::copy_async_wait<0>();
}

/// The product of one stage: two k32 instructions a block, one metadata word for both. The words
/// must not change before the instructions are done.
template <Config kConfig, int kBlocks, int kCount>
__device__ inline void multiply_stage(std::uint32_t records, std::uint32_t activations,
                                      float (&d)[kBlocks][kCount],
                                      std::uint32_t (&metadata)[kBlocks], int thread) {
  constexpr int kTransB = kConfig.token_major ? 0 : 1;
  // MN-major: panels of 64 tokens, 64 rows of 128 bytes each. K-major: a row of 128 bytes a token.
  constexpr int kPanel = kStepCols * 128;
  constexpr std::uint64_t kNextColumns = (kConfig.token_major ? 64 : 32 * 128) >> 4;
  constexpr std::uint64_t kNextValues = (2 * kCoreBytes) >> 4;
  const std::uint64_t b =
      ptx::matrix_descriptor(activations, kPanel, 1024, ptx::Swizzle::bytes_128);
#pragma unroll
  for (int i = 0; i < kBlocks; ++i)
    metadata[i] = ptx::load_shared(records + i * kRecordBytes + kValueBytes + thread % 128 * 4);
  ptx::wgmma_fence();
#pragma unroll
  for (int i = 0; i < kBlocks; ++i) {
    const std::uint64_t a = ptx::matrix_descriptor(records + i * kRecordBytes, kCoreBytes,
                                                   kCoreRowBytes, ptx::Swizzle::none);
    ptx::sparse_wgmma<kConfig.type, 0, kTransB>(d[i], a, b, metadata[i]);
    ptx::sparse_wgmma<kConfig.type, 1, kTransB>(d[i], a + kNextValues, b + kNextColumns,
                                                metadata[i]);
  }
  ptx::wgmma_commit();
}

/// A consumer's place in a thread block.
struct ConsumerPlace {
  int row_group, token_group, thread;
  bool active;
};

/// Adds one tile's products to `d`; releases every stage once its products are done.
template <Config kConfig, int kBlocks, int kCount>
class TileSum {
 public:
  __device__ TileSum(Pipeline<kConfig>& pipe, float (&d)[kBlocks][kCount],
                     const ConsumerPlace& place)
      : pipe_(pipe), d_(d), place_(place) {}

  __device__ void run(int steps) {
    if (steps == 0) return;
    // wgmma reads its metadata register when it executes, not when it is issued. At most two steps
    // are under way, so each has registers of its own, kept until its products are done.
    std::uint32_t even[kBlocks] = {}, odd[kBlocks] = {};
#pragma unroll 1
    for (int step = 0; step < steps; step += 2) {
      half(even, odd, step > 0);
      if (step + 1 < steps) half(odd, even, true);
    }
    ptx::wgmma_wait<0>();
    ptx::keep_values(even);
    ptx::keep_values(odd);
#pragma unroll
    for (int i = 0; i < kBlocks; ++i) ptx::keep_order(d_[i]);
    __syncwarp();  // every lane has read its metadata
    if (releases()) ptx::barrier_arrive(previous_);
  }

 private:
  __device__ bool releases() const { return place_.thread % 32 == 0; }
  __device__ void half(std::uint32_t (&metadata)[kBlocks], std::uint32_t (&before)[kBlocks],
                       bool has_previous) {
    constexpr int kGroupBytes = kConfig.shape.tokens * kStepCols * 2;
    pipe_.wait_full();
    ptx::fence_async_proxy();
    __syncwarp();
    if (place_.active)
      multiply_stage<kConfig>(pipe_.weight_tile() + place_.row_group * kBlocks * kRecordBytes,
                              pipe_.activation_tile() + place_.token_group * kGroupBytes, d_,
                              metadata, place_.thread);
    ptx::wgmma_wait<1>();
    ptx::keep_values(before);
    if (has_previous && releases()) ptx::barrier_arrive(previous_);
    previous_ = pipe_.empty + 8 * pipe_.stage;
    pipe_.advance();
  }

  Pipeline<kConfig>& pipe_;
  float (&d_)[kBlocks][kCount];
  ConsumerPlace place_;
  std::uint32_t previous_ = 0;
};

template <Config kConfig>
__device__ void consume(const ProductArguments& p, Pipeline<kConfig> pipe, int group, int thread) {
  constexpr int kBlocks = kConfig.shape.group_blocks;
  const int row_group = group / kConfig.shape.token_groups;
  const int token_group = group % kConfig.shape.token_groups;
  const int warp = thread / 32 % 4, lane = thread % 32;
  const int first_block = row_group * kBlocks;
  for (TileWalk walk(p); walk.valid(); walk.advance()) {
    const int token =
        walk.place.token_tile * kConfig.tile_tokens() + token_group * kConfig.shape.tokens;
    float d[kBlocks][kConfig.shape.tokens / 2] = {};
    UnitOutput out[kBlocks];  // read now: its latency is hidden behind the sums
#pragma unroll
    for (int i = 0; i < kBlocks; ++i) {
      const bool exists = first_block + i < walk.rows.blocks;
      const int unit = (walk.rows.block + first_block + i) * kBlockUnits + warp;
      out[i] = unit_output<kConfig.type>(p, exists ? unit : -1, token, lane);
    }
    TileSum<kConfig, kBlocks, kConfig.shape.tokens / 2>(
        pipe, d, {row_group, token_group, thread, first_block < walk.rows.blocks})
        .run(p.steps);
    store_units<kConfig.type>(p.epilogue, out, d, lane);
  }
}

constexpr Config config_of(int shape, bool token_major, Dtype type) {
  return {kWgmmaShapes[shape], token_major, type};
}

// By index: the host stubs of nvcc 13 cannot spell a kernel whose template argument is a struct.
template <int kShape, bool kTokenMajor, Dtype kType>
__global__ void __launch_bounds__(config_of(kShape, kTokenMajor, kType).threads(),
                                  kWgmmaShapes[kShape].thread_blocks)
    sparse_wgmma_kernel(const __grid_constant__ ProductArguments p) {
  constexpr Config kConfig = config_of(kShape, kTokenMajor, kType);
  extern __shared__ std::byte shared[];
  const Pipeline<kConfig> pipe(shared);
  if (threadIdx.x == 0) pipe.init();
  __syncthreads();
  const int group = __shfl_sync(0xffffffffu, threadIdx.x / 128, 0);
  if (group == kConfig.consumers()) {
    ptx::registers_lower<kConfig.producer_registers()>();
    produce<kConfig>(p, pipe, threadIdx.x % 128);
  } else {
    ptx::registers_raise<kConfig.consumer_registers()>();
    consume<kConfig>(p, pipe, group, threadIdx.x);
  }
}

template <int kShape, bool kTokenMajor, Dtype kType>
void launch(const ProductArguments& arguments, const DeviceInfo& device, cudaStream_t stream) {
  constexpr Config kConfig = config_of(kShape, kTokenMajor, kType);
  const auto kernel = sparse_wgmma_kernel<kShape, kTokenMajor, kType>;
  allow_shared_memory(kernel, kConfig.shared_bytes());
  const int tiles = arguments.row_tile_count * arguments.token_tile_count;
  const int grid = std::min(tiles, device.multiprocessors * kConfig.blocks_per_sm());
  kernel<<<grid, kConfig.threads(), kConfig.shared_bytes(), stream>>>(arguments);
  check(cudaGetLastError(), "launching a sparse wgmma product");
}

template <int kShape, bool kTokenMajor>
void launch_typed(Dtype type, const ProductArguments& arguments, const DeviceInfo& device,
                  cudaStream_t stream) {
  if (type == Dtype::f16)
    launch<kShape, kTokenMajor, Dtype::f16>(arguments, device, stream);
  else
    launch<kShape, kTokenMajor, Dtype::bf16>(arguments, device, stream);
}

template <int kShape = 0>
void launch_shape(int shape, bool token_major, Dtype type, const ProductArguments& arguments,
                  const DeviceInfo& device, cudaStream_t stream) {
  if constexpr (kShape < static_cast<int>(kWgmmaShapes.size())) {
    if (shape != kShape)
      return launch_shape<kShape + 1>(shape, token_major, type, arguments, device, stream);
    if constexpr (kWgmmaShapes[kShape].token_major)
      if (token_major) return launch_typed<kShape, true>(type, arguments, device, stream);
    launch_typed<kShape, false>(type, arguments, device, stream);
  }
}

}  // namespace

void launch_sparse_wgmma(int shape, bool token_major, Dtype type, const ProductArguments& arguments,
                         const DeviceInfo& device, cudaStream_t stream) {
  launch_shape(shape, token_major, type, arguments, device, stream);
}

}  // namespace coppice::cuda
