// Decoding, tiles and stores of the product for many tokens, compiled for every target.
#include "cpu/many_tokens_kernels.h"

#include <algorithm>
#include <cstring>

#include "cpu/target.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/many_tokens_kernels.cpp"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
//
#include "cpu/epilogue-inl.h"
#include "cpu/many_tokens_tiles-inl.h"
#include "cpu/many_tokens_transpose-inl.h"
#include "cpu/values-inl.h"

HWY_BEFORE_NAMESPACE();
namespace coppice::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

template <class Value>
HWY_INLINE void convert_values(const std::byte* from, std::int64_t count, float* out) {
  const TokenTag d;
  const auto* bits = reinterpret_cast<const typename Value::Bits*>(from);
  for (std::int64_t i = 0; i < count; i += kTokenLanes)
    hn::StoreU(Value::load(d, bits + i), d, out + i);
}

void convert(Dtype dtype, const std::byte* from, int slots, float* out) {
  const std::int64_t count = std::int64_t{slots} * kPanelRows;
  if (dtype == Dtype::f32)
    convert_values<F32Value>(from, count, out);
  else if (dtype == Dtype::bf16)
    convert_values<Bf16Value>(from, count, out);
  else
    convert_values<F16Value>(from, count, out);
}

// Byte offsets of the rows of x that one slot's 16 lanes want.
HWY_INLINE void slot_offsets(const DecodeTask& task, std::int64_t slot, std::uint32_t* offsets) {
  const hn::RebindToUnsigned<TokenTag> d;
  const hn::RebindToSigned<TokenTag> di;
  const PackedLayout& layout = *task.layout;
  const auto* words = reinterpret_cast<const std::uint32_t*>(task.panel + layout.word_offset(slot));
  const int shift = static_cast<int>(slot % layout.slots_per_word) * layout.index_bits;
  const auto mask = hn::Set(d, static_cast<std::uint32_t>(layout.window - 1));
  const std::int32_t window = task.windows[slot];
  const std::uint32_t* table =
      task.offsets == nullptr ? nullptr : task.offsets + (window - task.block.position);
  for (int lane = 0; lane < kPanelRows; lane += kTokenLanes) {
    const auto index = hn::And(hn::ShiftRightSame(hn::LoadU(d, words + lane), shift), mask);
    auto offset = hn::Zero(d);
    if (table == nullptr) {
      const auto position = hn::Add(index, hn::Set(d, static_cast<std::uint32_t>(window)));
      offset = hn::Mul(position, hn::Set(d, task.pitch_bytes));
    } else if (layout.window <= kTokenLanes) {
      offset = hn::TableLookupLanes(hn::LoadU(d, table), hn::IndicesFromVec(d, index));
    } else {
      offset = hn::BitCast(d, hn::GatherIndex(di, reinterpret_cast<const std::int32_t*>(table),
                                              hn::BitCast(di, index)));
    }
    hn::StoreU(offset, d, offsets + lane);
  }
}

// Puts a slot's values into the high halves of words whose low halves are offsets.
template <class Value>
HWY_INLINE void join(const typename Value::Bits* values, const std::uint32_t* offsets,
                     DecodedWeight* out) {
  const hn::CappedTag<std::uint64_t, 8> wide;
  const hn::Rebind<std::uint32_t, decltype(wide)> narrow;
  const hn::Rebind<float, decltype(wide)> narrow_float;
  constexpr int kLanes = static_cast<int>(hn::MaxLanes(wide));
  for (int lane = 0; lane < kPanelRows; lane += kLanes) {
    const auto value = hn::BitCast(narrow, Value::load(narrow_float, values + lane));
    const auto high = hn::ShiftLeft<32>(hn::PromoteTo(wide, value));
    const auto low = hn::PromoteTo(wide, hn::LoadU(narrow, offsets + lane));
    hn::StoreU(hn::Or(high, low), wide, out + lane);
  }
}

template <class Value>
HWY_INLINE void decode_values(const DecodeTask& task) {
  alignas(64) std::uint32_t offsets[kPanelRows];
  for (int s = 0; s < task.block.slots; ++s) {
    const std::int64_t slot = task.block.slot + s;
    slot_offsets(task, slot, offsets);
    const std::byte* values = task.panel + task.layout->slot_offset(slot);
    join<Value>(reinterpret_cast<const typename Value::Bits*>(values), offsets,
                task.out + s * kPanelRows);
  }
}

void decode(const DecodeTask& task) {
  if (task.dtype == Dtype::f32)
    decode_values<F32Value>(task);
  else if (task.dtype == Dtype::bf16)
    decode_values<Bf16Value>(task);
  else
    decode_values<F16Value>(task);
}

void finish_sums(const Panel& panel, float* sums, int pitch, int tokens, const Epilogue& epilogue) {
  const TokenTag d;
  if (epilogue.alpha == 1 && epilogue.bias.empty() && epilogue.activation == Activation::none)
    return;
  const TokenVec alpha = hn::Set(d, epilogue.alpha);
  for (int row = 0; row < panel.rows; ++row) {
    const auto at = static_cast<std::size_t>(panel.row + row);
    const TokenVec bias = hn::Set(d, epilogue.bias.empty() ? 0.0f : epilogue.bias[at]);
    float* row_sums = sums + row * pitch;
    for (int t = 0; t < tokens; t += kTokenLanes) {
      const TokenVec sum = hn::LoadU(d, row_sums + t);
      hn::StoreU(finish(d, sum, alpha, bias, epilogue.activation), d, row_sums + t);
    }
  }
}

void store_y(const Panel& panel, float* sums, int pitch, std::int64_t token, int tokens,
             const MutableActivations& y, const Epilogue& epilogue) {
  finish_sums(panel, sums, pitch, tokens, epilogue);
  float* to = &y.at(token, panel.row);
  if (y.layout == Layout::token_major) {
    transpose(sums, pitch, panel.rows, tokens, to, y.major_stride());
    return;
  }
  for (int row = 0; row < panel.rows; ++row)
    std::memcpy(to + row * y.major_stride(), sums + row * pitch,
                static_cast<std::size_t>(tokens) * sizeof(float));
}

const ManyTokensKernels* kernels() {
  static constexpr ManyTokensKernels kKernels = {&pack_x,          &convert,        &decode,
                                                 &multiply_shared, &multiply_lanes, &store_y};
  return &kKernels;
}

}  // namespace coppice::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace coppice::cpu {
namespace {
HWY_EXPORT(kernels);
}  // namespace

const ManyTokensKernels& many_tokens_kernels() {
  choose_target();
  return *HWY_DYNAMIC_DISPATCH(kernels)();
}

}  // namespace coppice::cpu
#endif  // HWY_ONCE
