// The wgmma product kernel and its launcher; included by one translation unit for every source of
// activations, so that they compile side by side.
#pragma once

#include <algorithm>

#include "cuda/kernels/expand_consume.h"
#include "cuda/kernels/expand_produce.h"
#include "cuda/kernels/expand_split.h"
#include "cuda/kernels/sparse_wgmma.h"
#include "cuda/kernels/spread_layout.h"
#include "cuda/kernels/tensor_map.h"
#include "cuda/kernels/wgmma_dense_consume.h"
#include "cuda/kernels/wgmma_dense_produce.h"
#include "cuda/launch.h"
#include "cuda/ptx/launch.h"

namespace coppice::cuda {
namespace {

constexpr WgmmaConfig config_of(int shape, Source source, Dtype type) {
  return {kWgmmaShapes[static_cast<std::size_t>(shape)], source, type};
}

// By index: the host stubs of nvcc 13 cannot spell a kernel whose template argument is a struct.
template <int kShape, Source kSource, Dtype kType>
__global__ void __launch_bounds__(config_of(kShape, kSource, kType).threads(),
                                  kWgmmaShapes[kShape].thread_blocks)
    sparse_wgmma_kernel(const __grid_constant__ ProductArguments p,
                        const __grid_constant__ WgmmaMaps maps) {
  constexpr WgmmaConfig kConfig = config_of(kShape, kSource, kType);
  extern __shared__ std::byte shared[];
  const Pipeline<kConfig> pipe(shared);
  if constexpr (!kConfig.expands()) {
    if (threadIdx.x == 0) {
      if constexpr (kConfig.dense())
        pipe.init(kConfig.gathers() && !p.lists.boxes);
      else
        pipe.init();
    }
    __syncthreads();
    if (p.expanded_before) ptx::wait_for_kernels_before();
    if (threadIdx.x == 0) ptx::let_next_kernel_begin();
  }
  const int group = __shfl_sync(0xffffffffu, threadIdx.x / 128, 0);
  if (group >= kConfig.consumers()) {
    const int thread = static_cast<int>(threadIdx.x) - 128 * kConfig.consumers();
    ptx::registers_lower<kConfig.producer_registers()>();
    if constexpr (kConfig.dense())
      if (p.lists.boxes) {
        if (thread < 32) produce_runs<kConfig>(p, maps, pipe, thread % 32);
        return;
      }
    if constexpr (kConfig.source == Source::runs)
      return;
    else if constexpr (kConfig.gathers())
      produce_gathered<kConfig>(p, maps, pipe, thread);
    else if constexpr (kConfig.expands())
      produce_expanded<kConfig>(p, maps, pipe, thread);
    else if (thread == 0)
      produce_in_order<kConfig>(p, maps, pipe);
  } else {
    ptx::registers_raise<kConfig.consumer_registers()>();
    if constexpr (kConfig.expands()) {
      pipe.template begin<true>(p);  // made by a producer
      if (threadIdx.x == 0) ptx::let_next_kernel_begin();
    }
    consume<kConfig>(p, maps, pipe, group, threadIdx.x);
  }
}

// Boxes of 64 columns of so many tokens.
inline CUtensorMap token_map(const ProductArguments& p, const WgmmaConfig& config, int tokens) {
  return tensor_map(
      {p.x, config.type, p.cols, p.tokens, p.x_stride, kStepCols, tokens, Swizzled::bytes_128});
}

// Boxes of activations in order or in runs: see produce_in_order, run_map.
inline CUtensorMap activation_map(const ProductArguments& p, const WgmmaConfig& config) {
  if (config.expands() && !config.expands_in_order())
    return window_map({p.x, config.type, p.x_tokens, p.cols, p.x_stride, p.columns.group});
  if (config.dense())
    return run_map({p.x, config.type, p.x_tokens, p.cols, p.x_stride, config.tile_tokens(),
                    config.source == Source::runs});
  if (config.reads_tokens()) return token_map(p, config, config.tile_tokens());
  const int rows = config.spreads() ? spread::step_rows(p.columns.group) : kStepCols;
  return tensor_map(
      {p.x, config.type, p.x_tokens, p.cols, p.x_stride, 64, rows, Swizzled::bytes_128});
}

// Boxes of 64 rows x kStoredTokens of the outputs.
inline CUtensorMap output_map(const ProductArguments& p, Dtype type) {
  const EpilogueArguments& e = p.epilogue;
  if (e.token_major)
    return tensor_map(
        {e.y, type, p.rows, p.tokens, e.y_stride, kBlockRows, kStoredTokens, Swizzled::bytes_128});
  return tensor_map(
      {e.y, type, p.tokens, p.rows, e.y_stride, kStoredTokens, kBlockRows, Swizzled::bytes_64});
}

// The same of a residual, 64 tokens at a time: see wgmma_residual.h.
inline CUtensorMap residual_map(const ProductArguments& p, Dtype type) {
  const EpilogueArguments& e = p.epilogue;
  const std::int64_t inner = e.token_major ? p.rows : p.tokens;
  const std::int64_t outer = e.token_major ? p.tokens : p.rows;
  return tensor_map({e.residual, type, inner, outer, e.y_stride, 64, 64, Swizzled::bytes_128});
}

constexpr bool is_compiled(const WgmmaShape& shape, Source source, bool dense) {
  if (shape.dense() != dense) return false;
  // ptxas 13.0 serializes the products of M = 5 there.
  if (shape.col_groups > 1 && !(is_expanded(source) && source != Source::fives)) return false;
  if (dense) return source == Source::gathered || source == Source::runs;
  if (is_expanded(source)) return shape.expands;
  return source == Source::gathered || shape.in_order;
}

template <int kShape, Source kSource, Dtype kType>
void launch(const ProductArguments& arguments, const DeviceInfo& device, cudaStream_t stream) {
  constexpr WgmmaConfig kConfig = config_of(kShape, kSource, kType);
  const auto kernel = sparse_wgmma_kernel<kShape, kSource, kType>;
  WgmmaMaps maps = {};
  if (!kConfig.gathers() || arguments.lists.boxes) maps.x = activation_map(arguments, kConfig);
  if constexpr (kConfig.dense())
    maps.w = piece_map(arguments.lists.values, kType, arguments.lists.half_units,
                       arguments.lists.pieces, kConfig.step_cols() / kRunCols);
  if constexpr (kConfig.reads_tokens())
    if (const int rest = arguments.tokens % kConfig.tile_tokens())
      maps.x_rest = token_map(arguments, kConfig, rest);
  if constexpr (kConfig.expands() && !kConfig.expands_in_order())
    maps.x_rest = tensor_map({arguments.x, kType, arguments.x_tokens, arguments.cols,
                              arguments.x_stride, 64, 4, Swizzled::bytes_128});
  if (arguments.staged) maps.y = output_map(arguments, kType);
  if (kConfig.brings_residuals() && brings_residual(arguments))
    maps.residual = residual_map(arguments, kType);
  const int tiles = arguments.row_tile_count * arguments.token_tile_count;
  const int room = device.multiprocessors * kConfig.shape.thread_blocks / arguments.slices;
  // Warpgroups that take turns at steps have one tile.
  const int together = kConfig.shape.col_groups > 1 ? tiles : std::min(tiles, room);
  const int grid = together * arguments.slices;
  // Barriers are made and row tiles read while the kernel before ends.
  const LaunchShape shape = {.grid = dim3(static_cast<unsigned>(grid)),
                             .threads = static_cast<int>(kConfig.threads()),
                             .shared_bytes = static_cast<int>(kConfig.shared_bytes()),
                             .cluster = arguments.slices,
                             .overlaps = true};
  cuda::launch(kernel, shape, stream, "launching a wgmma product", arguments, maps);
}

template <Source kSource, bool kDense = false, int kShape = 0>
void launch_shape(int shape, Dtype type, const ProductArguments& arguments,
                  const DeviceInfo& device, cudaStream_t stream) {
  if constexpr (kShape < static_cast<int>(kWgmmaShapes.size())) {
    if (shape != kShape)
      return launch_shape<kSource, kDense, kShape + 1>(shape, type, arguments, device, stream);
    if constexpr (is_compiled(kWgmmaShapes[kShape], kSource, kDense)) {
      if (type == Dtype::f16)
        launch<kShape, kSource, Dtype::f16>(arguments, device, stream);
      else
        launch<kShape, kSource, Dtype::bf16>(arguments, device, stream);
    }
  }
}

}  // namespace
}  // namespace coppice::cuda
