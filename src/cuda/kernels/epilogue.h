// From accumulators to memory: what every product kernel does with 16 rows x 8n tokens of sums that
// a warp holds in the fragment order of mma and wgmma: lane 4g+t has d[4j + 2h + e] = row g + 8h,
// token 8j + 2t + e.
//
// 16-bit outputs are exchanged within the four lanes of a group so that a lane stores 16 bytes:
// 64-byte runs for feature-major, 32-byte runs for token-major outputs (after an in-register
// transpose). Full sectors either way, no shared memory.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "cuda/kernels/activation.h"
#include "cuda/kernels/arguments.h"
#include "cuda/ptx/mma.h"

namespace coppice::cuda {

template <Dtype kType>
__device__ inline float load_element(const void* data, std::int64_t index) {
  if constexpr (kType == Dtype::f16)
    return __half2float(static_cast<const __half*>(data)[index]);
  else
    return __bfloat162float(static_cast<const __nv_bfloat16*>(data)[index]);
}

template <Dtype kType>
__device__ inline void store_element(void* data, std::int64_t index, float value) {
  if constexpr (kType == Dtype::f16)
    static_cast<__half*>(data)[index] = __float2half_rn(value);
  else
    static_cast<__nv_bfloat16*>(data)[index] = __float2bfloat16_rn(value);
}

/// Two floats to two elements, the first in the low half.
template <Dtype kType>
__device__ inline std::uint32_t pack_pair(float low, float high) {
  if constexpr (kType == Dtype::f16) {
    const __half2 pair = __floats2half2_rn(low, high);
    return *reinterpret_cast<const std::uint32_t*>(&pair);
  } else {
    const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
    return *reinterpret_cast<const std::uint32_t*>(&pair);
  }
}

/// The other way.
template <Dtype kType>
__device__ inline float2 unpack_pair(std::uint32_t pair) {
  if constexpr (kType == Dtype::f16)
    return __half22float2(*reinterpret_cast<const __half2*>(&pair));
  else
    return __bfloat1622float2(*reinterpret_cast<const __nv_bfloat162*>(&pair));
}

/// Within every four lanes: v[i] of lane t becomes v[t] of lane i.
__device__ inline void transpose_in_quad(std::uint32_t (&v)[4], int t) {
#pragma unroll
  for (int step = 1; step <= 2; step *= 2) {
    const bool upper = t & step;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (i & step) continue;
      const std::uint32_t given = upper ? v[i] : v[i + step];
      const std::uint32_t taken = __shfl_xor_sync(0xffffffffu, given, step);
      (upper ? v[i] : v[i + step]) = taken;
    }
  }
}

/// Where a unit's outputs go and what is added to them.
struct UnitOutput {
  RowUnit unit;
  std::int32_t tokens;
  std::int32_t first_token;  // of the fragment
  float bias[2];             // rows g and g + 8
};

/// Reads the bias of a unit.
template <Dtype kType>
__device__ inline UnitOutput unit_output(const ProductArguments& p, const RowUnit& unit,
                                         std::int32_t first_token, int lane) {
  UnitOutput out{unit, p.tokens, first_token, {0, 0}};
  if (p.epilogue.bias == nullptr) return out;
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const int r = lane / 4 + 8 * h;
    if (r >= out.unit.rows) continue;
    out.bias[h] = p.epilogue.f32_bias ? static_cast<const float*>(p.epilogue.bias)[out.unit.row + r]
                                      : load_element<kType>(p.epilogue.bias, out.unit.row + r);
  }
  return out;
}

/// Reads what unit number `unit` needs; an empty one for -1.
template <Dtype kType>
__device__ inline UnitOutput unit_output(const ProductArguments& p, std::int32_t unit,
                                         std::int32_t first_token, int lane) {
  if (unit < 0) return {{}, p.tokens, first_token, {0, 0}};
  const int4 raw = __ldg(reinterpret_cast<const int4*>(p.units + unit));
  return unit_output<kType>(p, RowUnit{raw.x, raw.y, raw.z, raw.w}, first_token, lane);
}

__device__ inline std::int64_t output_index(const EpilogueArguments& e, std::int64_t token,
                                            std::int64_t row) {
  return e.token_major ? token * e.y_stride + row : row * e.y_stride + token;
}

/// Element i of a fragment of 16 rows x 32 tokens lies `offset(i)` elements behind the lane's
/// first.
struct FragmentWalk {
  std::int64_t first, token_step, row_step;
  int rows_left, tokens_left;

  __device__ FragmentWalk(const EpilogueArguments& e, const UnitOutput& out, int token, int lane)
      : first(output_index(e, token + 2 * (lane % 4), out.unit.row + lane / 4)),
        token_step(e.token_major ? e.y_stride : 1),
        row_step(e.token_major ? 8 : 8 * e.y_stride),
        rows_left(out.unit.rows - lane / 4),
        tokens_left(out.tokens - token - 2 * (lane % 4)) {}
  __device__ std::int64_t offset(int i) const {
    return first + (8 * (i / 4) + i % 2) * token_step + i / 2 % 2 * row_step;
  }
  __device__ bool exists(int i) const {
    return 8 * (i / 2 % 2) < rows_left && 8 * (i / 4) + i % 2 < tokens_left;
  }
};

/// Element by element, with every bound checked: tails, and outputs that allow no wide stores.
template <Dtype kType>
__device__ inline void store_singly(const EpilogueArguments& e, const UnitOutput& out,
                                    const float (&v)[16], int first, int lane) {
  const FragmentWalk walk(e, out, first, lane);
#pragma unroll
  for (int i = 0; i < 16; ++i) {
    if (!walk.exists(i)) continue;
    if (e.f32_out)
      static_cast<float*>(e.y)[walk.offset(i)] = v[i];
    else
      store_element<kType>(e.y, walk.offset(i), v[i]);
  }
}

/// The residual is added, or the factor multiplied by.
__device__ inline float combine(const EpilogueArguments& e, float value, float other) {
  return e.multiplies ? value * other : value + other;
}

template <Dtype kType>
__device__ inline void combine_singly(const EpilogueArguments& e, const UnitOutput& out,
                                      float (&v)[16], int first, int lane) {
  const FragmentWalk walk(e, out, first, lane);
#pragma unroll
  for (int i = 0; i < 16; ++i) {
    if (!walk.exists(i)) continue;
    const float other = e.f32_out ? static_cast<const float*>(e.residual)[walk.offset(i)]
                                  : load_element<kType>(e.residual, walk.offset(i));
    v[i] = combine(e, v[i], other);
  }
}

/// What a lane reads of the residual of 16 rows x 32 tokens: the places that it stores to
/// (`store_wide`), so that the residual can be y itself.
struct WideResidual {
  uint4 half[2];

  __device__ void load(const EpilogueArguments& e, const UnitOutput& out, int first, int lane) {
    const int g = lane / 4, token = first + 8 * (lane % 4) + (e.token_major ? g : 0);
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int r = 8 * h + (e.token_major ? 0 : g);
      half[h] = make_uint4(0, 0, 0, 0);
      if (r < out.unit.rows)
        half[h] = *reinterpret_cast<const uint4*>(static_cast<const std::uint16_t*>(e.residual) +
                                                  output_index(e, token, out.unit.row + r));
    }
  }
};

/// The way of `wide_half` backwards.
template <Dtype kType>
__device__ inline void combine_wide(const EpilogueArguments& e, const WideResidual& residual,
                                    bool token_major, float (&v)[16], int t) {
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const uint4& raw = residual.half[h];
    std::uint32_t pairs[4] = {raw.x, raw.y, raw.z, raw.w};
    transpose_in_quad(pairs, t);
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      if (token_major) pairs[j] = ptx::transpose_matrix(pairs[j]);
      const float2 other = unpack_pair<kType>(pairs[j]);
      v[4 * j + 2 * h] = combine(e, v[4 * j + 2 * h], other.x);
      v[4 * j + 2 * h + 1] = combine(e, v[4 * j + 2 * h + 1], other.y);
    }
  }
}

/// Half h (rows 8h to 8h + 7) of 16 rows x 32 tokens as 16 bytes for every lane: of row g, tokens
/// 8t to 8t + 7; of token-major outputs of token 8t + g, all eight rows.
template <Dtype kType>
__device__ inline uint4 wide_half(const float (&v)[16], int h, bool token_major, int t) {
  std::uint32_t pairs[4];
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    pairs[j] = pack_pair<kType>(v[4 * j + 2 * h], v[4 * j + 2 * h + 1]);
    if (token_major) pairs[j] = ptx::transpose_matrix(pairs[j]);
  }
  transpose_in_quad(pairs, t);
  return make_uint4(pairs[0], pairs[1], pairs[2], pairs[3]);
}

/// Outputs are not read again here: L2 had better keep the activations.
__device__ inline void store_wide_half(void* y, std::int64_t index, uint4 half) {
  __stcs(reinterpret_cast<uint4*>(static_cast<std::uint16_t*>(y) + index), half);
}

/// 16 rows x 32 tokens as 16-byte stores of 16-bit elements.
template <Dtype kType>
__device__ inline void store_wide(const EpilogueArguments& e, const UnitOutput& out,
                                  const float (&v)[16], int first, int lane) {
  const int g = lane / 4, t = lane % 4;
  const int token = first + 8 * t + (e.token_major ? g : 0);
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const uint4 half = wide_half<kType>(v, h, e.token_major, t);
    const int r = 8 * h + (e.token_major ? 0 : g);
    if (r < out.unit.rows) store_wide_half(e.y, output_index(e, token, out.unit.row + r), half);
  }
}

/// 16 rows x 32 tokens from token `first` on, of any kind.
template <Dtype kType>
__device__ inline void store_part(const EpilogueArguments& e, const UnitOutput& out,
                                  const float (&sums)[16], int first, int lane) {
  if (first >= out.tokens || out.unit.rows == 0) return;
  float v[16];
#pragma unroll
  for (int i = 0; i < 16; ++i) v[i] = fmaf(e.alpha, sums[i], out.bias[i / 2 % 2]);
  activate_fragment(e.activation, v);
  const bool whole = first + 32 <= out.tokens &&
                     (!e.token_major || (out.unit.rows == kUnitRows && out.unit.row % 8 == 0));
  if (e.residual != nullptr) {
    if (e.wide_residual && whole) {
      WideResidual residual;
      residual.load(e, out, first, lane);
      combine_wide<kType>(e, residual, e.token_major, v, lane % 4);
    } else {
      combine_singly<kType>(e, out, v, first, lane);
    }
  }
  if (e.wide && whole)
    store_wide<kType>(e, out, v, first, lane);
  else
    store_singly<kType>(e, out, v, first, lane);
}

/// What most products are: whole tiles of 16-bit outputs without activation.
template <int kUnits, int kCount>
__device__ inline bool is_plain(const EpilogueArguments& e, const UnitOutput (&out)[kUnits]) {
  bool plain = e.wide && e.activation == Activation::none &&
               (e.residual == nullptr || e.wide_residual) &&
               out[0].first_token + 2 * kCount <= out[0].tokens;
#pragma unroll
  for (const UnitOutput& o : out)
    plain = plain && (!e.token_major || o.unit.rows == 0 ||
                      (o.unit.rows == kUnitRows && o.unit.row % 8 == 0));
  return plain;
}

/// Row g, and row g + 8 if they exist.
__device__ inline void store_two_rows(const EpilogueArguments& e, std::int64_t index, uint4 low,
                                      uint4 high, int rows_left) {
  if (rows_left > 0) store_wide_half(e.y, index, low);
  if (rows_left > 8) store_wide_half(e.y, index + 8 * e.y_stride, high);
}

/// All 16 rows of this lane's token. Two neighbours store both halves of one token, then of the
/// other, so that every store fills whole sectors of 32 bytes.
__device__ inline void store_token_pairs(const EpilogueArguments& e, std::int64_t index, uint4 low,
                                         uint4 high, int t) {
  const bool odd = t % 2;
  const uint4 given = odd ? low : high;
  uint4 taken;
  taken.x = __shfl_xor_sync(0xffffffffu, given.x, 1);
  taken.y = __shfl_xor_sync(0xffffffffu, given.y, 1);
  taken.z = __shfl_xor_sync(0xffffffffu, given.z, 1);
  taken.w = __shfl_xor_sync(0xffffffffu, given.w, 1);
  const std::int64_t even_token = index - (odd ? 8 * e.y_stride : 0) + (odd ? 8 : 0);
  store_wide_half(e.y, even_token, odd ? taken : low);
  store_wide_half(e.y, even_token + 8 * e.y_stride, odd ? high : taken);
}

/// Straight-line code, for plain products: a tenth of the instructions of the general way.
template <Dtype kType, bool kTokenMajor, bool kCombines, int kUnits, int kCount>
__device__ inline void store_plain(const EpilogueArguments& e, const UnitOutput (&out)[kUnits],
                                   const float (&d)[kUnits][kCount], int lane) {
  constexpr int kParts = kCount / 16, kAhead = 3;
  const int g = lane / 4, t = lane % 4;
  const std::int64_t next_part = 32 * (kTokenMajor ? e.y_stride : 1);
#pragma unroll
  for (int u = 0; u < kUnits; ++u) {
    if (out[u].unit.rows == 0) continue;
    const int token = out[u].first_token + 8 * t + (kTokenMajor ? g : 0);
    const std::int64_t first = output_index(e, token, out[u].unit.row + (kTokenMajor ? 0 : g));
    // Some parts ahead: the latency of a load is that of several stores.
    WideResidual residual[kAhead];
    const auto load = [&](int part) {
      residual[part % kAhead].load(e, out[u], out[u].first_token + 32 * part, lane);
    };
#pragma unroll
    for (int part = 0; kCombines && part < (kAhead < kParts ? kAhead : kParts); ++part) load(part);
#pragma unroll
    for (int part = 0; part < kParts; ++part) {
      float v[16];
#pragma unroll
      for (int i = 0; i < 16; ++i)
        v[i] = fmaf(e.alpha, d[u][16 * part + i], out[u].bias[i / 2 % 2]);
      if (kCombines) {
        combine_wide<kType>(e, residual[part % kAhead], kTokenMajor, v, t);
        if (part + kAhead < kParts) load(part + kAhead);
      }
      const uint4 low = wide_half<kType>(v, 0, kTokenMajor, t);
      const uint4 high = wide_half<kType>(v, 1, kTokenMajor, t);
      if constexpr (kTokenMajor)
        store_token_pairs(e, first + part * next_part, low, high, t);
      else
        store_two_rows(e, first + part * next_part, low, high, out[u].unit.rows - g);
    }
  }
}

/// Stores the sums of `kUnits` units and uses them up. The loop is rolled, and the sums move down
/// by register copies: unrolled, the code is so large (130 KB) that fetching it takes longer than
/// the stores, with L2 as busy as it is.
template <Dtype kType, int kUnits, int kCount>
__device__ inline void store_generally(const EpilogueArguments& e, const UnitOutput (&out)[kUnits],
                                       float (&d)[kUnits][kCount], int lane) {
  constexpr int kTogether = 16;  // sums of one turn: 32 tokens
  static_assert(kCount % kTogether == 0);
  constexpr int kTurns = kUnits * kCount / kTogether;
#pragma unroll 1
  for (int turn = 0; turn < kTurns; ++turn) {
    const int unit = turn * kTogether / kCount;
    UnitOutput now = out[0];
#pragma unroll
    for (int u = 1; u < kUnits; ++u)
      if (unit == u) {
        now.unit = out[u].unit;
        now.bias[0] = out[u].bias[0];
        now.bias[1] = out[u].bias[1];
      }
    const int first = now.first_token + turn * kTogether % kCount * 2;
#pragma unroll
    for (int part = 0; part < kTogether / 16; ++part) {
      float sums[16];
#pragma unroll
      for (int i = 0; i < 16; ++i) sums[i] = d[0][16 * part + i];
      store_part<kType>(e, now, sums, first + 32 * part, lane);
    }
#pragma unroll
    for (int i = 0; i + kTogether < kUnits * kCount; ++i)
      d[i / kCount][i % kCount] = d[(i + kTogether) / kCount][(i + kTogether) % kCount];
  }
}

/// Stores the sums of `kUnits` units and uses them up.
template <Dtype kType, int kUnits, int kCount>
__device__ inline void store_units(const EpilogueArguments& e, const UnitOutput (&out)[kUnits],
                                   float (&d)[kUnits][kCount], int lane) {
  if (!is_plain<kUnits, kCount>(e, out))
    store_generally<kType>(e, out, d, lane);
  else if (e.residual != nullptr)
    e.token_major ? store_plain<kType, true, true>(e, out, d, lane)
                  : store_plain<kType, false, true>(e, out, d, lane);
  else
    e.token_major ? store_plain<kType, true, false>(e, out, d, lane)
                  : store_plain<kType, false, false>(e, out, d, lane);
}

}  // namespace coppice::cuda
