#include "cuda/kernels/tensor_map.h"

#include <cuda_runtime.h>

#include <algorithm>
#include <array>
#include <string>

#include "coppice/error.h"
#include "cuda/check.h"
#include "cuda/kernels/expand_layout.h"
#include "cuda/kernels/values_map.h"
#include "cuda/packed_layout.h"
#include "cuda/select.h"
#include "cuda/window/ring_map.h"

namespace coppice::cuda {
namespace {

// The driver's function, found through the runtime: no need to link with the driver.
auto find_encoder() {
  void* function = nullptr;
  cudaDriverEntryPointQueryResult result{};
  check(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000,
                                         cudaEnableDefault, &result),
        "looking for cuTensorMapEncodeTiled");
  if (result != cudaDriverEntryPointSuccess)
    throw DeviceError("the driver has no cuTensorMapEncodeTiled: it is older than CUDA 12");
  return reinterpret_cast<decltype(&cuTensorMapEncodeTiled)>(function);
}

// The innermost dimension first; strides in elements, of all dimensions but that.
template <std::size_t kRank>
struct Dimensions {
  std::array<cuuint64_t, kRank> sizes;
  std::array<cuuint64_t, kRank - 1> strides;
  std::array<cuuint32_t, kRank> box;
};

template <std::size_t kRank>
CUtensorMap encode_map(const void* data, CUtensorMapDataType type, int element_bytes,
                       Dimensions<kRank> of, Swizzled swizzle) {
  static const auto encode = find_encoder();
  for (cuuint64_t& stride : of.strides) stride *= static_cast<cuuint64_t>(element_bytes);
  std::array<cuuint32_t, kRank> steps;
  steps.fill(1);
  CUtensorMap map;
  const CUresult result =
      encode(&map, type, kRank, const_cast<void*>(data), of.sizes.data(), of.strides.data(),
             of.box.data(), steps.data(), CU_TENSOR_MAP_INTERLEAVE_NONE,
             swizzle == Swizzled::none       ? CU_TENSOR_MAP_SWIZZLE_NONE
             : swizzle == Swizzled::bytes_64 ? CU_TENSOR_MAP_SWIZZLE_64B
                                             : CU_TENSOR_MAP_SWIZZLE_128B,
             CU_TENSOR_MAP_L2_PROMOTION_L2_128B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (result != CUDA_SUCCESS)
    throw DeviceError("describing a matrix to the copy engine: CUDA driver error " +
                      std::to_string(static_cast<int>(result)));
  return map;
}

// 16-bit elements.
template <std::size_t kRank>
CUtensorMap encode_map(const void* data, Dtype type, const Dimensions<kRank>& of,
                       Swizzled swizzle) {
  return encode_map<kRank>(
      data, type == Dtype::f16 ? CU_TENSOR_MAP_DATA_TYPE_FLOAT16 : CU_TENSOR_MAP_DATA_TYPE_BFLOAT16,
      2, of, swizzle);
}

}  // namespace

CUtensorMap tensor_map(const TensorMapInfo& info) {
  return encode_map<2>(
      info.data, info.type,
      {{static_cast<cuuint64_t>(info.inner), static_cast<cuuint64_t>(info.outer)},
       {static_cast<cuuint64_t>(info.stride)},
       {static_cast<cuuint32_t>(info.box_inner), static_cast<cuuint32_t>(info.box_outer)}},
      info.swizzle);
}

CUtensorMap run_map(const RunMapInfo& info) {
  if (info.token_major)
    return tensor_map({info.data, info.type, info.cols, info.tokens, info.stride, kRunCols,
                       std::min(info.tile_tokens, kRunBoxTokens), Swizzled::bytes_64});
  if (info.tokens % 64 != 0)
    return tensor_map({info.data, info.type, info.tokens, info.cols, info.stride, 64, kRunCols,
                       Swizzled::bytes_128});
  return encode_map<3>(
      info.data, info.type,
      {{64, static_cast<cuuint64_t>(info.cols), static_cast<cuuint64_t>(info.tokens / 64)},
       {static_cast<cuuint64_t>(info.stride), 64},
       {64, kRunCols, static_cast<cuuint32_t>(info.tile_tokens / 64)}},
      Swizzled::bytes_128);
}

CUtensorMap piece_map(const void* values, Dtype type, std::int64_t half_units, std::int64_t pieces,
                      int box_pieces) {
  return piece_map(values, type, half_units, pieces, box_pieces, kBlockRows / 8);
}

CUtensorMap piece_map(const void* values, Dtype type, std::int64_t half_units, std::int64_t pieces,
                      int box_pieces, int box_half_units) {
  constexpr cuuint64_t kPieceElements = 256;  // 8 rows x 32
  const auto count = static_cast<cuuint64_t>(pieces);
  return encode_map<3>(values, type,
                       {{kPieceElements, count, static_cast<cuuint64_t>(half_units)},
                        {kPieceElements, kPieceElements * count},
                        {kPieceElements, static_cast<cuuint32_t>(box_pieces),
                         static_cast<cuuint32_t>(box_half_units)}},
                       Swizzled::none);
}

CUtensorMap ring_map(const RingMapInfo& info) {
  const auto stride = static_cast<cuuint64_t>(info.stride);
  const cuuint64_t apart = cuuint64_t{1} << info.shift;
  const auto mixed = [&](std::int64_t cols) {
    return static_cast<cuuint64_t>(cols) >> (info.shift + 2);
  };
  return encode_map<5>(
      info.data, info.type,
      {{static_cast<cuuint64_t>(info.tokens), 2, 4, apart / 2, mixed(info.cols)},
       {stride, stride * apart, stride * 2, stride * apart * 4},
       {static_cast<cuuint32_t>(info.box_tokens), 2, 4, static_cast<cuuint32_t>(apart / 2),
        static_cast<cuuint32_t>(mixed(info.columns))}},
      Swizzled::bytes_128);
}

CUtensorMap rounded_values_map(const void* values, std::int64_t half_units, std::int64_t pieces,
                               int box_half_units) {
  constexpr cuuint64_t kSlots = 16, kRows = 8;
  const auto count = static_cast<cuuint64_t>(pieces);
  return encode_map<3>(values, CU_TENSOR_MAP_DATA_TYPE_TFLOAT32, 4,
                       {{kSlots, kRows * count, static_cast<cuuint64_t>(half_units)},
                        {kSlots, kSlots * kRows * count},
                        {kSlots, kRows, static_cast<cuuint32_t>(box_half_units)}},
                       Swizzled::bytes_64);
}

CUtensorMap window_map(const WindowMapInfo& info) {
  const auto stride = static_cast<cuuint64_t>(info.stride);
  const auto times = [&](int cols) { return stride * static_cast<cuuint64_t>(cols); };
  const int lane_cols = expand::kLaneWindows * info.group;
  const auto quads = static_cast<cuuint32_t>(expand::span_quads(info.group));
  return encode_map<5>(info.data, info.type,
                       {{static_cast<cuuint64_t>(info.tokens), 4,
                         static_cast<cuuint64_t>(std::max<std::int64_t>(1, info.cols / lane_cols)),
                         quads, static_cast<cuuint64_t>(lane_cols / expand::span(info.group))},
                        {stride, times(lane_cols), times(expand::quad_stride(info.group)),
                         times(expand::span(info.group))},
                        {64, 4, expand::kLanes, quads, 2}},
                       Swizzled::bytes_128);
}

}  // namespace coppice::cuda
