// Lanes are rows. One instruction (vpermw) looks up the two activations that each of 16 rows
// multiplies by, in a register with 32 columns of a token; the next one (vdpbf16ps) multiplies and
// adds both. Nothing depends on the pattern: rows need not agree on anything.
#include "cpu/bf16_lookup_tiles.h"

#include "cpu/bf16_avx512.h"

#ifdef COPPICE_CPU_BF16_KERNELS

COPPICE_CPU_BF16_BEGIN
namespace coppice::cpu::avx512 {
namespace {

// Walks over the slots of a panel: divisions for each would cost as much as joining it.
class SlotReader {
 public:
  HWY_INLINE SlotReader(const JoinTask& task)
      : layout_(*task.layout),
        columns_(task.columns),
        begins_(task.begins),
        slot_(task.slot),
        next_(task.next),
        chunk_(task.panel + layout_.word_offset(task.slot)),
        in_chunk_(static_cast<int>(task.slot % layout_.slots_per_word)) {}

  // Moves on by one slot: where each row's weight lies, in columns from `base` on, and what it is.
  HWY_INLINE void next(std::int64_t base, __m512i* column, __m512i* value) {
    const bool lanes = layout_.format == WeightFormat::lane;
    *column =
        lanes ? lane_columns(base) : _mm512_set1_epi32(static_cast<int>(shared_column() - base));
    const std::byte* values = chunk_ + layout_.word_bytes() + in_chunk_ * layout_.slot_bytes();
    _mm_prefetch(reinterpret_cast<const char*>(values + next_), _MM_HINT_T1);
    if (in_chunk_ == 0) _mm_prefetch(reinterpret_cast<const char*>(chunk_ + next_), _MM_HINT_T1);
    *value = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i_u*>(values)));
    ++slot_;
    if (++in_chunk_ == layout_.slots_per_word) {
      in_chunk_ = 0;
      chunk_ += layout_.chunk_bytes();
    }
  }

 private:
  HWY_INLINE std::int64_t shared_column() const {
    return columns_ == nullptr ? slot_ : columns_[slot_];
  }
  HWY_INLINE __m512i lane_columns(std::int64_t base) const {
    const __m512i words = _mm512_loadu_si512(chunk_);
    const auto shift = _mm_cvtsi32_si128(in_chunk_ * layout_.index_bits);
    const __m512i index =
        _mm512_and_si512(_mm512_srl_epi32(words, shift), _mm512_set1_epi32(layout_.window - 1));
    const std::int64_t begin = begins_[slot_];
    if (columns_ == nullptr)
      return _mm512_add_epi32(index, _mm512_set1_epi32(static_cast<int>(begin - base)));
    const __m512i listed = _mm512_permutexvar_epi16(index, _mm512_loadu_si512(columns_ + begin));
    return _mm512_sub_epi32(_mm512_and_si512(listed, _mm512_set1_epi32(0xffff)),
                            _mm512_set1_epi32(static_cast<int>(base)));
  }

  const PackedLayout& layout_;
  const std::uint16_t* columns_;
  const std::int32_t* begins_;
  std::int64_t slot_, next_;
  const std::byte* chunk_;
  int in_chunk_;
};

template <int kPanels, int kTokens>
void multiply_tile(const LookupTile& tile) {
  __m512 sums[kTokens][kPanels];
#pragma GCC unroll 8
  for (int t = 0; t < kTokens; ++t)
#pragma GCC unroll 3
    for (int p = 0; p < kPanels; ++p)
      sums[t][p] = tile.first ? _mm512_setzero_ps()
                              : _mm512_load_ps(tile.sums + p * tile.sums_step + t * kPanelRows);
  const WeightPairs* pairs[kPanels];
#pragma GCC unroll 3
  for (int p = 0; p < kPanels; ++p) pairs[p] = tile.pairs[p];
  for (const LookupWindow* window = tile.windows; window != tile.windows + tile.window_count;
       ++window) {
    __m512i x[kTokens];
#pragma GCC unroll 8
    for (int t = 0; t < kTokens; ++t)
      x[t] = _mm512_loadu_si512(tile.x + t * tile.x_step + window->column);
    for (int left = window->pairs(); left > 0; --left) {
#pragma GCC unroll 3
      for (int p = 0; p < kPanels; ++p) {
        const __m512i columns = _mm512_load_si512(pairs[p]->columns);
        const __m512i values = _mm512_load_si512(pairs[p]->values);
        ++pairs[p];
#pragma GCC unroll 8
        for (int t = 0; t < kTokens; ++t)
          sums[t][p] = multiply_add(sums[t][p], values, _mm512_permutexvar_epi16(columns, x[t]));
      }
    }
  }
#pragma GCC unroll 8
  for (int t = 0; t < kTokens; ++t)
#pragma GCC unroll 3
    for (int p = 0; p < kPanels; ++p)
      _mm512_store_ps(tile.sums + p * tile.sums_step + t * kPanelRows, sums[t][p]);
}

template <int kPanels, int kTokens>
HWY_INLINE void multiply_tokens(const LookupTile& tile) {
  if (tile.tokens == kTokens) return multiply_tile<kPanels, kTokens>(tile);
  if constexpr (kTokens > 1) multiply_tokens<kPanels, kTokens - 1>(tile);
}

}  // namespace

void join(const JoinTask& task) {
  SlotReader slots(task);
  WeightPairs* out = task.out;
  for (int w = 0; w < task.window_count; ++w) {
    const LookupWindow& window = task.windows[w];
    const std::int64_t base = task.column + window.column;
    for (int left = window.slots; left > 0; left -= 2, ++out) {
      __m512i column, value, second_column, second_value = _mm512_setzero_si512();
      slots.next(base, &column, &value);
      second_column = column;
      if (left > 1) slots.next(base, &second_column, &second_value);
      _mm512_store_si512(out->columns,
                         _mm512_or_si512(column, _mm512_slli_epi32(second_column, 16)));
      _mm512_store_si512(out->values, _mm512_or_si512(value, _mm512_slli_epi32(second_value, 16)));
    }
  }
}

void multiply_looked_up(const LookupTile& tile) {
  if (tile.panels == 1) return multiply_tokens<1, kLookupTokens[0]>(tile);
  if (tile.panels == 2) return multiply_tokens<2, kLookupTokens[1]>(tile);
  multiply_tokens<3, kLookupTokens[2]>(tile);
}

}  // namespace coppice::cpu::avx512
COPPICE_CPU_BF16_END

#endif
