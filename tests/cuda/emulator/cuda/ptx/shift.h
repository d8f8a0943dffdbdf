// In place of src/cuda/ptx/shift.h: see emulate.h.
#pragma once
#include "emulate.h"
namespace coppice::cuda::ptx {
inline std::uint32_t shift_left(std::uint32_t bits, std::uint32_t by) {
  return by < 32 ? bits << by : 0;
}
}  // namespace coppice::cuda::ptx
