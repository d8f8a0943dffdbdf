// The activations of a warp's slice, in registers as fragments of mma: lane 4g + t has token g of
// each tile, of every 32 columns (64 of groups of 16) those of its own group.
#pragma once

#include "cuda/element/held_config.h"
#include "cuda/element/stage.h"
#include "cuda/kernels/epilogue.h"
#include "cuda/ptx/mma.h"

namespace coppice::cuda {

/// Eight activations of a token one by one, zeros where there are none. Not where it is called, 16
/// times: it is seldom.
template <Dtype kType>
__device__ __noinline__ uint4 single_activations(const ElementProduct& p, int place, int token) {
  std::uint32_t pairs[4];
#pragma unroll
  for (int i = 0; i < 4; ++i)
    pairs[i] = pack_pair<kType>(activation<kType>(p, place + 2 * i, token),
                                activation<kType>(p, place + 2 * i + 1, token));
  return make_uint4(pairs[0], pairs[1], pairs[2], pairs[3]);
}

template <HeldConfig kConfig, Dtype kType>
class HeldInputs {
 public:
  static constexpr int kOctets = kConfig.slice_columns() / 32;

  /// Columns from `first` on.
  __device__ void load(const ElementProduct& p, int first, int first_token, int lane) {
    const bool copies = p.weight.sources == nullptr;
    const int columns = p.weight.layout.cols;
    const bool whole = columns % 8 == 0 || first + kConfig.slice_columns() <= columns;
    if (copies && p.wide && whole)
      load_octets(p, first, first_token, lane);
    else if (copies && p.tall)
      load_pairs(p, first, first_token, lane);
    else
      load_singly(p, first, first_token, lane);
  }

  /// Of a lane's group kGroup of the slice, columns 8 * kEight and behind it.
  template <int kGroup, int kEight>
  __device__ const uint4& get(int tile) const {
    return x_[kGroup * (kConfig.form.group / 8) + kEight][tile];
  }

 private:
  /// The first of the eight columns that a lane t has of octet `octet`.
  static __device__ int place(int octet, int t) {
    constexpr int kEights = kConfig.form.group / 8;
    return ((octet / kEights * kElementLanes + t) * kEights + octet % kEights) * 8;
  }

  __device__ void load_octets(const ElementProduct& p, int first, int first_token, int lane) {
    const int columns = p.weight.layout.cols;
    const bool inner = first + kConfig.slice_columns() <= columns;
    first += place(0, lane % kElementLanes);
#pragma unroll
    for (int tile = 0; tile < kConfig.tiles; ++tile) {
      const int token = first_token + 8 * tile + lane / kElementLanes;
      const auto* from = static_cast<const std::uint16_t*>(p.x) + token * p.x_token + first;
#pragma unroll
      for (int o = 0; o < kOctets; ++o) {
        x_[o][tile] = make_uint4(0, 0, 0, 0);
        if (token < p.tokens && (inner || first + place(o, 0) < columns))
          x_[o][tile] = *reinterpret_cast<const uint4*>(from + place(o, 0));
      }
    }
  }

  /// A column's tokens together: pairs of tokens of a column become pairs of columns of a token.
  __device__ void load_pairs(const ElementProduct& p, int first, int first_token, int lane) {
    // Row r of a matrix is a column of lane t = r / 2: the rows that this lane loads are those.
    const int row = lane / 4, columns = p.weight.layout.cols;
    first += place(0, row / 2) + row % 2;
#pragma unroll
    for (int tile = 0; tile < kConfig.tiles; ++tile) {
      const int token = first_token + 8 * tile + 2 * (lane % 4), left = p.tokens - token;
      const auto* from = static_cast<const std::uint16_t*>(p.x) + token;
#pragma unroll
      for (int o = 0; o < kOctets; ++o) {
        std::uint32_t pairs[4];
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const int column = first + place(o, 0) + 2 * i;
          const auto* at = from + column * p.x_column;
          pairs[i] = 0;
          if (column < columns && left > 1)
            pairs[i] = *reinterpret_cast<const std::uint32_t*>(at);
          else if (column < columns && left == 1)
            pairs[i] = *at;
        }
#pragma unroll
        for (int i = 0; i < 4; ++i) pairs[i] = ptx::transpose_matrix(pairs[i]);
        x_[o][tile] = make_uint4(pairs[0], pairs[1], pairs[2], pairs[3]);
      }
    }
  }

  __device__ void load_singly(const ElementProduct& p, int first, int first_token, int lane) {
    first += place(0, lane % kElementLanes);
#pragma unroll
    for (int tile = 0; tile < kConfig.tiles; ++tile)
#pragma unroll
      for (int o = 0; o < kOctets; ++o)
        x_[o][tile] = single_activations<kType>(p, first + place(o, 0),
                                                first_token + 8 * tile + lane / kElementLanes);
  }

  uint4 x_[kOctets][kConfig.tiles];
};

}  // namespace coppice::cuda
