// Which libraries of the CUDA toolkit a process has: some ways to multiply need one.
#pragma once

namespace coppice::cuda {

/// Whether cuBLASLt multiplies on the current device: then element-, vector- and block-wise weights
/// are expanded for it where many tokens make that pay (`multiply`). It is opened at the first
/// call, or when the first such weight is packed: libcublasLt.so of the CUDA version that the
/// library was compiled with, or the file that COPPICE_CUBLASLT names. False without a GPU.
bool has_dense_library();

}  // namespace coppice::cuda
