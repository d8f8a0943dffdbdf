// Activations of a step on their way to shared memory, and there from one order to the other: a
// token's together (expanded weights read them so), or in panels of 8 tokens a column's together
// (columns are gathered so).
#pragma once

#include "cuda/element/fragment_config.h"
#include "cuda/element/stage.h"
#include "cuda/ptx/copy.h"
#include "cuda/ptx/mma.h"

namespace coppice::cuda {

/// Where the eight columns from 8 * octet on of a token lie: exchanged with their neighbours so
/// that eight tokens' octet is not in two banks' reach.
template <FragmentForm kForm>
__device__ inline int token_octet(int token, int octet) {
  return kForm.group == 8 && !kForm.gathers() ? octet ^ (token >> 1 & 3) : octet;
}

/// What is staged: columns of a step, tokens from first_token on.
struct Stage {
  int first, columns, first_token;
};

/// A token's columns together, 16 bytes by 16: a warp a token, so that little is computed for each.
template <FragmentForm kForm, int kTokens>
__device__ inline void copy_tokens(const ElementProduct& p, const Stage& s, std::uint32_t to,
                                   int stride) {
  const int lane = threadIdx.x % 32;
  for (int token = static_cast<int>(threadIdx.x / 32); token < kTokens;
       token += static_cast<int>(blockDim.x / 32)) {
    const int cols = s.first_token + token < p.tokens ? p.weight.layout.cols - s.first : 0;
    const auto* x = static_cast<const std::uint16_t*>(p.x);
    const auto* from = x + (s.first_token + token) * p.x_token + s.first;
    const std::uint32_t row = to + static_cast<std::uint32_t>(token * stride);
    for (int octet = lane; octet < s.columns / 8; octet += 32) {
      const int left = max(0, min(8, cols - 8 * octet));
      ptx::copy_async_16(row + static_cast<std::uint32_t>(token_octet<kForm>(token, octet) * 16),
                         left > 0 ? from + 8 * octet : x, static_cast<std::uint32_t>(2 * left));
    }
  }
}

/// A column's tokens together, 8 by 8.
template <int kTokens>
__device__ inline void copy_columns(const ElementProduct& p, const Stage& s, std::uint32_t to) {
  constexpr int kPanels = kTokens / 8;
  for (int i = static_cast<int>(threadIdx.x); i < s.columns * kPanels;
       i += static_cast<int>(blockDim.x)) {
    const int panel = i % kPanels, place = s.first + i / kPanels;
    const int column = activation_column(p.weight, place);
    const int left = column >= 0 ? p.tokens - s.first_token - 8 * panel : 0;
    const auto* from = static_cast<const std::uint16_t*>(p.x);
    if (left > 0) from += column * p.x_column + s.first_token + 8 * panel;
    ptx::copy_async_16(
        to + static_cast<std::uint32_t>(panel * fragment_panel(s.columns) + i / kPanels * 16), from,
        static_cast<std::uint32_t>(2 * max(0, min(8, left))));
  }
}

/// Tokens one after the other, as far as copies go by copies.
template <FragmentForm kForm, Dtype kType, int kTokens>
__device__ inline void stage_tokens(const ElementProduct& p, const Stage& s, std::byte* out,
                                    int stride) {
  if (p.wide && p.weight.sources == nullptr)
    return copy_tokens<kForm, kTokens>(
        p, s, static_cast<std::uint32_t>(__cvta_generic_to_shared(out)), stride);
  stage_singly<kType>(
      p, s.columns * kTokens, [&](int i) { return s.first + i / kTokens; },
      [&](int i) { return s.first_token + i % kTokens; },
      [&](int i, float x) {
        const int token = i % kTokens, column = i / kTokens;
        store_value<kType>(out + token * stride + token_octet<kForm>(token, column / 8) * 16,
                           column % 8, x);
      });
}

/// Asks for the activations of a step; zeros where there are none. They have arrived when this
/// thread's copies have, and after a barrier for the others.
template <FragmentForm kForm, Dtype kType, int kTokens>
__device__ inline void stage_step(const ElementProduct& p, const Stage& s, std::byte* out,
                                  int stride) {
  if (p.tall)
    copy_columns<kTokens>(p, s, static_cast<std::uint32_t>(__cvta_generic_to_shared(out)));
  else
    stage_tokens<kForm, kType, kTokens>(p, s, out, stride);
}

/// Until the oldest of the stages under way is here.
__device__ inline void wait_for_stage(int stages) {
  if (stages == 2)
    ptx::copy_async_wait<0>();
  else if (stages == 3)
    ptx::copy_async_wait<1>();
  else
    ptx::copy_async_wait<2>();
}

/// The columns of a step from one order to the other, in registers: 8 x 8 elements four times, 32
/// columns of 8 tokens. `columns` is a multiple of 32.
template <FragmentForm kForm, int kTokens>
__device__ inline void turn_step(std::uint32_t from, std::uint32_t to, int stride, int columns) {
  const int lane = threadIdx.x % 32, warps = static_cast<int>(blockDim.x / 32);
  const int row = lane / 4, pair = 2 * (lane % 4);
  const int panel = fragment_panel(columns);
  constexpr int kByColumn = 32 * 16, kByToken = 32 * 2;  // bytes to the next 32 columns
  const int turn = token_octet<kForm>(row, 0);           // of the octets of a token to be written
  for (int p = 0; p < kTokens / 8; ++p) {
    for (int i = static_cast<int>(threadIdx.x / 32); i < columns / 32; i += warps) {
      std::uint32_t x[4];
      if constexpr (kForm.gathers()) {
        const int at = (8 * p + lane % 8) * stride + lane / 8 * 16 + i * kByToken;
        ptx::load_matrix_4_transposed(x, from + static_cast<std::uint32_t>(at));
      } else {
        ptx::load_matrix_4_transposed(
            x, from + static_cast<std::uint32_t>(p * panel + lane * 16 + i * kByColumn));
      }
#pragma unroll
      for (int m = 0; m < 4; ++m) {
        const int at = kForm.gathers()
                           ? p * panel + (8 * m + row) * 16 + pair * 2 + i * kByColumn
                           : (8 * p + row) * stride + (m ^ turn) * 16 + pair * 2 + i * kByToken;
        ptx::store_shared(to + static_cast<std::uint32_t>(at), x[m]);
      }
    }
  }
}

}  // namespace coppice::cuda
