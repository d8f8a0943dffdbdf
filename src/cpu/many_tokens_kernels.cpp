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
#include "hwy/cache_control.h"

HWY_BEFORE_NAMESPACE();
namespace coppice::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

template <class Value>
HWY_INLINE void convert_values(const std::byte* from, std::int64_t count, std::int64_t next,
                               float* out) {
  const TokenTag d;
  const auto* bits = reinterpret_cast<const typename Value::Bits*>(from);
  for (std::int64_t i = 0; i < count; i += kTokenLanes) {
    hwy::Prefetch(reinterpret_cast<const std::byte*>(bits + i) + next);
    hn::StoreU(Value::load(d, bits + i), d, out + i);
  }
}

void convert(Dtype dtype, const std::byte* from, int slots, std::int64_t next, float* out) {
  const std::int64_t count = std::int64_t{slots} * kPanelRows;
  if (dtype == Dtype::f32)
    convert_values<F32Value>(from, count, next, out);
  else if (dtype == Dtype::bf16)
    convert_values<Bf16Value>(from, count, next, out);
  else
    convert_values<F16Value>(from, count, next, out);
}

// Where the byte offset of a row of x comes from.
enum class Offsets : std::uint8_t {
  computed,   // position * pitch_bytes: x is read in its own order
  looked_up,  // a table whose windows fit in a register
  gathered,   // a table with larger windows
};

// Byte offsets of the rows of x that one slot's 16 lanes want.
// @param shift  where the slot's indices begin in `words`
template <Offsets kOffsets>
HWY_INLINE void slot_offsets(const DecodeTask& task, const std::uint32_t* words, int shift,
                             std::int32_t window, std::uint32_t* offsets) {
  const hn::RebindToUnsigned<TokenTag> d;
  const hn::RebindToSigned<TokenTag> di;
  const auto mask = hn::Set(d, static_cast<std::uint32_t>(task.layout->window - 1));
  const std::uint32_t* table =
      kOffsets == Offsets::computed ? nullptr : task.offsets + (window - task.block.position);
  for (int lane = 0; lane < kPanelRows; lane += kTokenLanes) {
    const auto index = hn::And(hn::ShiftRightSame(hn::LoadU(d, words + lane), shift), mask);
    auto offset = hn::Zero(d);
    if constexpr (kOffsets == Offsets::computed) {
      const auto position = hn::Add(index, hn::Set(d, static_cast<std::uint32_t>(window)));
      offset = hn::Mul(position, hn::Set(d, task.pitch_bytes));
    } else if constexpr (kOffsets == Offsets::looked_up) {
      offset = hn::TableLookupLanes(hn::LoadU(d, table), hn::IndicesFromVec(d, index));
    } else {
      offset = hn::BitCast(d, hn::GatherIndex(di, reinterpret_cast<const std::int32_t*>(table),
                                              hn::BitCast(di, index)));
    }
    hn::StoreU(offset, d, offsets + lane);
  }
}

// Puts a slot's values into the high halves of words whose low halves are offsets.
// @param slab  decoded weights from one slab to the next
template <class Value>
HWY_INLINE void join(const typename Value::Bits* values, const std::uint32_t* offsets,
                     std::int64_t slab, DecodedWeight* out) {
  const hn::CappedTag<std::uint64_t, kSlabRows> wide;
  const hn::Rebind<std::uint32_t, decltype(wide)> narrow;
  const hn::Rebind<float, decltype(wide)> narrow_float;
  constexpr int kLanes = static_cast<int>(hn::MaxLanes(wide));
  for (int row = 0; row < kPanelRows; row += kSlabRows, out += slab) {
    for (int lane = 0; lane < kSlabRows; lane += kLanes) {
      const auto value = hn::BitCast(narrow, Value::load(narrow_float, values + row + lane));
      const auto high = hn::ShiftLeft<32>(hn::PromoteTo(wide, value));
      const auto low = hn::PromoteTo(wide, hn::LoadU(narrow, offsets + row + lane));
      hn::StoreU(hn::Or(high, low), wide, out + lane);
    }
  }
}

// Walks over the chunks of the panel: divisions for each slot would cost as much as its decoding.
template <class Value, Offsets kOffsets>
HWY_INLINE void decode_slots(const DecodeTask& task) {
  alignas(64) std::uint32_t offsets[kPanelRows];
  const PackedLayout& layout = *task.layout;
  const std::int64_t slab = std::int64_t{task.block.slots} * kSlabRows;
  const std::byte* chunk = task.panel + layout.word_offset(task.block.slot);
  const std::int32_t* windows = task.windows + task.block.slot;
  int in_chunk = static_cast<int>(task.block.slot % layout.slots_per_word);
  DecodedWeight* out = task.out;
  for (int left = task.block.slots; left > 0; in_chunk = 0, chunk += layout.chunk_bytes()) {
    const auto* words = reinterpret_cast<const std::uint32_t*>(chunk);
    const auto* values = reinterpret_cast<const typename Value::Bits*>(chunk + layout.word_bytes());
    const int end = std::min(in_chunk + left, layout.slots_per_word);
    left -= end - in_chunk;
    hwy::Prefetch(chunk + task.next);
    for (int s = in_chunk; s < end; ++s, ++windows, out += kSlabRows) {
      hwy::Prefetch(reinterpret_cast<const std::byte*>(values + s * kPanelRows) + task.next);
      slot_offsets<kOffsets>(task, words, s * layout.index_bits, *windows, offsets);
      join<Value>(values + s * kPanelRows, offsets, slab, out);
    }
  }
}

template <class Value>
HWY_INLINE void decode_values(const DecodeTask& task) {
  if (task.offsets == nullptr)
    decode_slots<Value, Offsets::computed>(task);
  else if (task.layout->window <= kTokenLanes)
    decode_slots<Value, Offsets::looked_up>(task);
  else
    decode_slots<Value, Offsets::gathered>(task);
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
  if (is_identity(epilogue)) return;
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
  const std::int64_t stride = y.major_stride();
  if (y.layout == Layout::token_major) {
    // All rows of a few tokens: whole cache lines. Lines of different tokens often share a set.
    for (int t = 0; t < tokens; t += kTransposeBlock)
      transpose(sums + t, pitch, panel.rows, std::min<int>(kTransposeBlock, tokens - t),
                to + t * stride, stride);
    return;
  }
  for (int row = 0; row < panel.rows; ++row)
    std::memcpy(to + row * stride, sums + row * pitch,
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
