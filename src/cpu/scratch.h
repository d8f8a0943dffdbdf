// Scratch memory that is kept from call to call.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cpu/aligned_buffer.h"

namespace coppice::cpu {

/// Grows and is kept: fresh pages would cost more than the copy they are for. For `thread_local`.
class Scratch {
 public:
  /// Uninitialised room, aligned to a cache line; what it held before is lost.
  template <typename T>
  T* room(std::int64_t count) {
    const std::int64_t bytes = count * std::int64_t{sizeof(T)};
    if (bytes > bytes_) {
      memory_.reset();
      memory_ = aligned_array<std::byte>(static_cast<std::size_t>(bytes));
      bytes_ = bytes;
    }
    return reinterpret_cast<T*>(memory_.get());
  }

 private:
  AlignedArray<std::byte> memory_;
  std::int64_t bytes_ = 0;
};

}  // namespace coppice::cpu
