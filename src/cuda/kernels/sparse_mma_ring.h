// The ring of stages in shared memory of the mma kernels.
#pragma once

#include <cstdint>

namespace coppice::cuda::mma {

/// A walk around the ring of stages. It counts: an address compared with the ring's ends would make
/// the compiler work out where shared memory starts again and again, which has a long latency.
class RingWalk {
 public:
  __device__ RingWalk(std::uint32_t first, std::uint32_t stage_bytes, int stages)
      : stage_(first), stage_bytes_(stage_bytes), stages_(stages) {}
  __device__ std::uint32_t stage() const { return stage_; }
  __device__ RingWalk ahead(int count) const {
    RingWalk walk = *this;
    for (int i = 0; i < count; ++i) walk.advance();
    return walk;
  }
  /// @returns whether that ended a round.
  __device__ bool advance() {
    const bool ended = ++index_ == stages_;
    stage_ += ended ? stage_bytes_ - stages_ * stage_bytes_ : stage_bytes_;
    if (ended) index_ = 0;
    return ended;
  }

 private:
  std::uint32_t stage_, stage_bytes_;
  int stages_, index_ = 0;
};

}  // namespace coppice::cuda::mma
