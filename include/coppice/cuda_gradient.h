// Between a weight's stored values and its dense form in device memory: what a backward pass on an
// NVIDIA GPU needs beside dense products. dX = W^T dY multiplies by `scatter_kept` of the values;
// dW at the kept positions is `gather_kept` of dY^T X.
//
//   coppice::KeptColumns kept(sparse.view());             // gradient.h; its columns, as 16 bits,
//   coppice::cuda::KeptDeviceView view{columns, rows, cols, kept_of_a_row};  // go to the device
//   scatter_kept(view, values, Dtype::f32, dense, Dtype::bf16, stream);
//
// Both run at the rate of memory. Any pattern; a conversion of the dtype is part of it.
#pragma once

#include <cstdint>

#include "coppice/dtype.h"

struct CUstream_st;

namespace coppice::cuda {

/// Columns of the stored weights in device memory, not owned.
struct KeptDeviceView {
  const std::uint16_t* columns = nullptr;  ///< [rows, kept], all less than cols
  std::int64_t rows = 0;
  std::int64_t cols = 0;  ///< at most 65536
  std::int64_t kept = 0;
};

/// dense[r, columns[r, k]] = values[r, k], and +0 elsewhere. values: [rows, kept]; dense: [rows,
/// cols], packed, aligned to 16 bytes; f16, bf16 or f32 each, in memory of the current device.
/// Enqueued on `stream`; allocates nothing, does not synchronise. Throws InvalidArgument if
/// something does not fit, DeviceError if the launch fails.
void scatter_kept(const KeptDeviceView& kept, const void* values, Dtype values_dtype, void* dense,
                  Dtype dense_dtype, CUstream_st* stream = nullptr);

/// values[r, k] = dense[r, columns[r, k]]. All else as in `scatter_kept`.
void gather_kept(const KeptDeviceView& kept, const void* dense, Dtype dense_dtype, void* values,
                 Dtype values_dtype, CUstream_st* stream = nullptr);

}  // namespace coppice::cuda
