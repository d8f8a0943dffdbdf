// What selection and launches have to know about a device. Needs no CUDA header.
#pragma once

#include <cstdint>

namespace coppice::cuda {

namespace model {
struct Constants;
}

/// What selection has to know about a device.
struct DeviceInfo {
  int multiprocessors = 0;
  int compute_capability = 0;  ///< 10 * major + minor
  std::int64_t l2_bytes = 0;
  int shared_bytes = 0;    ///< that a thread block can use
  bool has_wgmma = false;  ///< compute capability 9.0, and the kernels were compiled in
  /// Of the performance model (model/constants.h), of static storage; null: those of an H200.
  const model::Constants* constants = nullptr;
  bool dense_library = false;  ///< cuBLASLt is there, for Family::unpack
};

}  // namespace coppice::cuda
