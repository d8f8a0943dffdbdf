// Pruning with compensation (update.h) on an NVIDIA GPU.
//
//   const auto engine = coppice::cuda::make_update_engine();   // once; it serves any layers
//   auto result = coppice::obs_prune(weights, rows, cols, pattern, gram, {.engine = engine.get()});
#pragma once

#include <memory>

#include "coppice/update.h"

namespace coppice::cuda {

/// Does the linear algebra of obs_prune and admm_prune on the current device, with cuBLAS and
/// cuSOLVER, which are loaded by this call. The results have the quality of the CPU's, not their
/// bits; on one kind of device they are the same bits for every call. Needs device memory for about
/// 50 bytes a number of the Gram matrix and 40 a weight.
///
/// An engine may be shared between threads: layers take turns on the device. `threads` of the
/// options still counts for what stays on the host (magnitude masks, tables of a joint choice).
/// Throws DeviceError if the device or the libraries cannot be used; so do the calls that use it.
std::unique_ptr<UpdateEngine> make_update_engine();

}  // namespace coppice::cuda
