// The activations of a step of a ring kernel's warp: a row of 64 columns for each token, brought by
// asynchronous copies where they lie so, one or two steps ahead.
#pragma once

#include "cuda/kernels/decode_ring.h"
#include "cuda/kernels/decode_stage.h"

namespace coppice::cuda::decode {

class Sides {
 public:
  __device__ Sides(const DecodeArguments& a, const ProductArguments& p, const Run& run,
                   std::int32_t first_token, std::uint32_t shared, int lane)
      : a_(a),
        p_(p),
        next_(run.begin),
        end_(run.end),
        now_(shared),
        to_(shared),
        both_(2 * shared + (a.ring.sides - 1) * a.ring.side_bytes),
        first_token_(first_token),
        tokens_(min(a.shape.tokens, p.tokens - first_token)),
        lane_(lane) {}

  /// Row of a token in a side; those behind the last are the last one's.
  __device__ std::uint32_t row(int token) const {
    return static_cast<std::uint32_t>(min(token, tokens_ - 1) * kSidePitch);
  }

  /// Begins to bring what the next step needs. One group of copies for every call.
  __device__ void ask() {
    if (next_ < end_) {
      if (a_.x_token_major)
        bring_rows();
      else
        bring_feature_major();
    }
    ptx::copy_async_commit();
    ++next_;
    to_ = both_ - to_;
  }

  /// The oldest of what the last `sides` calls have asked for, when it has arrived.
  __device__ std::uint32_t wait() {
    if (a_.ring.sides == 2)
      ptx::copy_async_wait<1>();
    else
      ptx::copy_async_wait<0>();
    __syncwarp();
    const std::uint32_t side = now_;
    now_ = both_ - now_;
    return side;
  }

 private:
  // A lane has 8 columns of every fourth token.
  __device__ void bring_rows() const {
    const int octet = lane_ % 8, column = next_ * kStepCols + 8 * octet;
    const int valid = max(0, min(8, p_.cols - column));
    std::uint32_t to = to_ + lane_ / 8 * kSidePitch + octet * 16;
    const auto* from = static_cast<const std::uint16_t*>(p_.x) +
                       (first_token_ + lane_ / 8) * p_.x_stride + (valid > 0 ? column : 0);
#pragma unroll 1
    for (int token = lane_ / 8; token < tokens_; token += 4) {
      if (a_.x_wide)
        ptx::copy_async_16(to, from, 2 * valid);
      else
        ptx::store_shared(to, gather_elements(from, valid));
      from += 4 * p_.x_stride;
      to += 4 * kSidePitch;
    }
  }
  // A lane has a column of 8 tokens at a time.
  __device__ void bring_feature_major() const {
#pragma unroll 1
    for (int first = 0; first < tokens_; first += 8)
#pragma unroll 1
      for (int i = lane_; i < kStepCols; i += 32) {
        const int column = next_ * kStepCols + i, count = min(8, tokens_ - first);
        uint4 raw = make_uint4(0, 0, 0, 0);
        if (column < p_.cols) {
          const std::uint16_t* from =
              static_cast<const std::uint16_t*>(p_.x) + column * p_.x_stride + first_token_ + first;
          raw = a_.x_wide && count == 8 ? __ldcg(reinterpret_cast<const uint4*>(from))
                                        : gather_elements(from, count);
        }
        const std::uint32_t pairs[4] = {raw.x, raw.y, raw.z, raw.w};
#pragma unroll
        for (int t = 0; t < 8; ++t)
          if (t < count)
            ptx::store_shared_2(to_ + (first + t) * kSidePitch + 2 * i,
                                pairs[t / 2] >> 16 * (t % 2));
      }
  }

  const DecodeArguments& a_;
  const ProductArguments& p_;
  int next_, end_;          // steps: asked for next, behind the last
  std::uint32_t now_, to_;  // sides: of what is waited for, and of what is asked for, next
  std::uint32_t both_;      // their addresses added up
  std::int32_t first_token_, tokens_;
  int lane_;
};

}  // namespace coppice::cuda::decode
