#include "cuda/kernels/tensor_map.h"

#include <cuda_runtime.h>

#include <string>

#include "coppice/error.h"
#include "cuda/check.h"

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

}  // namespace

CUtensorMap tensor_map(const TensorMapInfo& info) {
  static const auto encode = find_encoder();
  const cuuint64_t sizes[2] = {static_cast<cuuint64_t>(info.inner),
                               static_cast<cuuint64_t>(info.outer)};
  const cuuint64_t strides[1] = {static_cast<cuuint64_t>(info.stride) * 2};
  const cuuint32_t box[2] = {static_cast<cuuint32_t>(info.box_inner),
                             static_cast<cuuint32_t>(info.box_outer)};
  const cuuint32_t steps[2] = {1, 1};
  CUtensorMap map;
  const CUresult result = encode(
      &map,
      info.type == Dtype::f16 ? CU_TENSOR_MAP_DATA_TYPE_FLOAT16 : CU_TENSOR_MAP_DATA_TYPE_BFLOAT16,
      2, const_cast<void*>(info.data), sizes, strides, box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE,
      info.swizzle == Swizzled::bytes_64 ? CU_TENSOR_MAP_SWIZZLE_64B : CU_TENSOR_MAP_SWIZZLE_128B,
      CU_TENSOR_MAP_L2_PROMOTION_L2_128B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (result != CUDA_SUCCESS)
    throw DeviceError("describing a matrix to the copy engine: CUDA driver error " +
                      std::to_string(static_cast<int>(result)));
  return map;
}

}  // namespace coppice::cuda
