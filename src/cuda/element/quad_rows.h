// Rows of a unit of 16 as fragments of sparse wgmma, made in registers by a table (quad_form.h).
#pragma once

#include <utility>

#include "cuda/element/element_arguments.h"
#include "cuda/element/quad_fragments.h"
#include "cuda/ptx/copy.h"
#include "cuda/ptx/load_once.h"

namespace coppice::cuda {

/// By all threads; nobody reads it before a barrier. @param table a multiple of its size.
template <QuadForm kForm>
__device__ inline void fill_unit_table(std::uint32_t table) {
  for (int i = static_cast<int>(threadIdx.x); i < kForm.table_bytes() / 16;
       i += static_cast<int>(blockDim.x)) {
    const std::uint32_t entry = unit_entry(kForm, static_cast<std::uint32_t>(i / 8));
    ptx::store_shared(table + static_cast<std::uint32_t>(i) * 16,
                      make_uint4(entry, entry, entry, entry));
  }
}

/// What a lane holds of the rows g and g + 8 of a unit: values a step ahead, choices too. Loads
/// stay where they are written: as early as registers are free.
template <QuadForm kForm>
class QuadRows {
 public:
  static constexpr int kBlockUnits = quad_block_units(kForm);
  static constexpr int kBlocks = kForm.units / kBlockUnits;  // of a step

  /// @param first, end of the steps that are read. @param table shared-memory address.
  __device__ QuadRows(const ElementWeight& w, int unit, int first, int end, int lane,
                      std::uint32_t table)
      : table_(table + static_cast<std::uint32_t>(lane * 4)), exchange_(lane % kElementLanes) {
    const ElementLayout& l = w.layout;
    pieces_ = min(l.pieces, end * kForm.pieces()) - first * kForm.pieces();
    words_ = min(l.words, end * kForm.words()) - first * kForm.words();
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const int half_unit = min(2 * unit + r, 2 * l.units() - 1);  // all read, none is stored twice
      values_at_[r] = w.values + piece_byte(l, half_unit, first * kForm.pieces(), lane);
      const int vector = row_vector(w, 8 * half_unit + lane / kElementLanes);
      choices_at_[r] =
          w.choices + 4 * choice_word(l, vector, lane % kElementLanes, first * kForm.words());
    }
  }

  __device__ void load_first() {
    load_choices();
#pragma unroll
    for (int p = 0; p < kForm.pieces(); ++p) load_values(p, p);
  }

  /// Before the first step, behind the barrier that the table needs.
  __device__ void look_up_first() { look_up<kBlocks>(); }

  /// Goes through a step: for every block `use.operator()<kBlock>(make)`, where `make(fragments)`
  /// makes it.
  template <typename Use>
  __device__ void step(const Use& use) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
#pragma unroll
      for (int i = 0; i < kForm.words(); ++i) choices_[r][i] = next_choices_[r][i];
      choices_at_[r] += kForm.words() * 128;
    }
    words_ -= kForm.words();
    load_choices();
    use_blocks(use, std::make_integer_sequence<int, kBlocks>());
    pieces_ -= kForm.pieces();
#pragma unroll
    for (int r = 0; r < 2; ++r) values_at_[r] += kForm.pieces() * 32 * kPieceBytes;
  }

 private:
  static constexpr int kPieceBlocks = 4 / kBlockUnits;

  __device__ void load_choices() {
#pragma unroll
    for (int r = 0; r < 2; ++r)
#pragma unroll
      for (int i = 0; i < kForm.words(); ++i)
        // Behind the end any choice will do: the values are 0.
        next_choices_[r][i] =
            i < words_ ? __ldg(reinterpret_cast<const std::uint32_t*>(choices_at_[r]) + 32 * i) : 0;
  }
  __device__ void load_values(int piece, int slot) {
#pragma unroll
    for (int r = 0; r < 2; ++r)
      values_[slot][r] =
          ptx::load_once_16_if(piece < pieces_, values_at_[r] + piece * 32 * kPieceBytes);
  }

  template <int kUnit>
  __device__ std::uint32_t values(int row) const {
    return values_of_unit<kUnit>(values_[kUnit / 4][row]);
  }
  /// What a unit's code stands for, of the step whose choices these are.
  template <int kUnit>
  __device__ std::uint32_t entry(const std::uint32_t (&choices)[kForm.words()]) const {
    constexpr int kBits = kForm.code_bits(), kWord = kUnit * kBits / 32;
    constexpr int kTo = 7;  // 128 bytes a code
    constexpr int kShift = kUnit * kBits % 32, kMask = ((1 << kBits) - 1) << kTo;
    const std::uint32_t word = choices[kWord];
    std::uint32_t code;
    if constexpr (kShift + kBits > 32)
      code = __funnelshift_r(word, choices[kWord + 1], kShift - kTo);
    else if constexpr (kShift >= kTo)
      code = word >> (kShift - kTo);
    else
      code = word << (kTo - kShift);
    return ptx::load_table((code & kMask) | table_);
  }
  /// Asks for the entries of a block, one ahead of its use.
  template <int kBlock>
  __device__ void look_up() {
#pragma unroll
    for (int row = 0; row < 2; ++row) {
      const auto& choices = kBlock < kBlocks ? choices_[row] : next_choices_[row];
      constexpr int kUnit = kBlock % kBlocks * kBlockUnits;
      entries_[row][0] = entry<kUnit>(choices);
      if constexpr (kBlockUnits == 2) entries_[row][1] = entry<kUnit + 1>(choices);
    }
  }

  template <int kBlock>
  __device__ void make(QuadFragments& out) {
    make_block<kForm, kBlock>(
        out, entries_, exchange_, expand::kHalfSelectors,
        [this]<int kUnit>(int row) { return values<kUnit>(row); },
        [this] { look_up<kBlock + 1>(); });
  }

  template <int kBlock, typename Use>
  __device__ void use_block(const Use& use) {
    use.template operator()<kBlock>([this](QuadFragments& out) {
      make<kBlock>(out);
      if constexpr (kBlock % kPieceBlocks == kPieceBlocks - 1)
        load_values(kBlock / kPieceBlocks + kForm.pieces(), kBlock / kPieceBlocks);
    });
  }
  template <typename Use, int... kBlock>
  __device__ void use_blocks(const Use& use, std::integer_sequence<int, kBlock...>) {
    (use_block<kBlock>(use), ...);
  }

  std::uint32_t table_;  // this lane's entry of code 0
  MetadataExchange exchange_;
  const std::byte* values_at_[2];   // this lane's first piece of the step
  const std::byte* choices_at_[2];  // its first word of the step whose choices come next
  int pieces_, words_;              // from there on
  uint4 values_[kForm.pieces()][2];
  std::uint32_t entries_[2][kBlockUnits];  // of the next block, of both rows
  std::uint32_t choices_[2][kForm.words()], next_choices_[2][kForm.words()];
};

}  // namespace coppice::cuda
