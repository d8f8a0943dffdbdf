// Where a packed weight gets its device memory from.
#pragma once

#include <cstdint>
#include <utility>

#include "coppice/cuda.h"
#include "coppice/error.h"
#include "cuda/check.h"

namespace coppice::cuda {

/// Memory of a packed weight: its own, or lent.
class PackedMemory {
 public:
  PackedMemory() = default;
  explicit PackedMemory(DeviceBuffer own)
      : own_(std::move(own)), data_(own_.data()), bytes_(own_.bytes()) {}
  PackedMemory(void* lent, std::size_t bytes) : data_(lent), bytes_(bytes) {}

  template <typename T>
  T* as() const {
    return static_cast<T*>(data_);
  }
  std::size_t bytes() const { return bytes_; }

 private:
  DeviceBuffer own_;
  void* data_ = nullptr;
  std::size_t bytes_ = 0;
};

struct MemorySource {
  Allocator allocate = {};  ///< empty: memory of the weight's own
  void* packed = nullptr;   ///< memory that holds the weight already, tables and all

  /// Called once for a weight.
  PackedMemory take(std::int64_t bytes) const {
    const auto size = static_cast<std::size_t>(bytes);
    if (packed == nullptr && !allocate) return PackedMemory(DeviceBuffer(size));
    void* memory = packed != nullptr ? packed : allocate(bytes);
    if ((memory == nullptr && bytes > 0) || reinterpret_cast<std::uintptr_t>(memory) % 256 != 0)
      throw InvalidArgument("the memory of a packed weight needs to start on 256 bytes");
    return {memory, size};
  }
};

}  // namespace coppice::cuda
