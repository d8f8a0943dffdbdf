// A table of byte selections in shared memory: what the choice of a group does to its values.
//
// For every two places of the group that follow each other a selector of prmt. Of two values (2:8,
// 2:16) it picks from the pair and from zero; of four (4:8, a mask) from both pairs, and what is
// not chosen is masked out behind it. The selectors of a group lie together; copies of them side by
// side, one for every lane that a load serves at once.
#pragma once

#include "cuda/element/fragment_config.h"

namespace coppice::cuda {

/// Selector of places 2 * two and 2 * two + 1 for a choice.
template <FragmentForm kForm>
__device__ inline std::uint32_t selector_of(std::uint32_t choice, int two) {
  std::uint32_t selector = 0;
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const std::uint32_t place = 2 * two + i;
    std::uint32_t first = 4;  // bytes of the value that is there
    std::uint32_t second = 4;
    if constexpr (kForm.form == ChoiceForm::mask) {
      const int above = __popc(choice >> place >> 1);  // values come in descending order of places
      first = 2 * above & 7, second = first + 1;
    } else {
      constexpr std::uint32_t kMask = (1u << kForm.index_bits) - 1;
      if (place == (choice >> kForm.index_bits & kMask)) first = 2, second = 3;
      if (place == (choice & kMask)) first = 0, second = 1;
    }
    selector |= (first | second << 4) << 8 * i;
  }
  return selector;
}

/// By all threads; nobody reads it before a barrier.
template <FragmentForm kForm>
__device__ inline void fill_table(std::byte* table) {
  constexpr int kWords = kForm.selector_bytes() / 4;  // of a choice
  constexpr int kCopies = 128 / kForm.selector_bytes();
  auto* words = reinterpret_cast<std::uint32_t*>(table);
  for (int i = static_cast<int>(threadIdx.x); i < kWords << kForm.choice_bits();
       i += static_cast<int>(blockDim.x)) {
    const int word = i % kWords, choice = i / kWords;
    const std::uint32_t both =
        selector_of<kForm>(choice, 2 * word) | selector_of<kForm>(choice, 2 * word + 1) << 16;
#pragma unroll 4
    for (int copy = 0; copy < kCopies; ++copy) {
      // Threads side by side write to different banks.
      const int at = (copy + choice) % kCopies;
      words[choice * 32 + at * kWords + word] = both;
    }
  }
}

/// The lane's copy of the selectors of choice 0.
template <FragmentForm kForm>
__device__ inline const std::byte* lane_table(const std::byte* table, int lane) {
  return table + lane * kForm.selector_bytes() % 128;
}

}  // namespace coppice::cuda
