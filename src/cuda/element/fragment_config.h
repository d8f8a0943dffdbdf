// The tensor core kernels of element packings, and how their products are divided. Host code and
// constants.
#pragma once

#include <array>
#include <vector>

#include "cuda/element/element_plan.h"
#include "cuda/element/lookup_config.h"

namespace coppice::cuda {

/// How a weight becomes fragments of mma.
struct FragmentForm {
  /// indices, mask: N:M is expanded to dense fragments in registers, fast enough for up to two
  /// words of kept values for 8 or 16 places. list: the values are fragments as they are, and
  /// activations are gathered.
  ChoiceForm form = ChoiceForm::indices;
  int kept = 2, group = 8, index_bits = 3;  ///< indices, mask
  int run = 1;                              ///< list, see LookupForm

  constexpr bool gathers() const { return form == ChoiceForm::list; }
  constexpr int lane_groups() const { return kChunkEntries / kept; }  ///< in a chunk
  constexpr int words() const {                                       ///< of choices in a chunk
    return form == ChoiceForm::mask ? group / kept : index_bits;
  }
  constexpr int chunk_columns() const { return kElementLanes * lane_groups() * group; }
};

inline constexpr std::array kFragmentForms = {
    FragmentForm{ChoiceForm::indices, 2, 8, 3},
    FragmentForm{ChoiceForm::mask, 4, 8, 0},
    FragmentForm{ChoiceForm::indices, 2, 16, 4},
    FragmentForm{.form = ChoiceForm::list, .run = 1},
    FragmentForm{.form = ChoiceForm::list, .run = 8},
};

/// Number of the form of a weight; -1: none. `shared`: see LookupForm.
constexpr int fragment_form(const ElementLayout& l, bool shared) {
  if (l.element_bytes != 2) return -1;
  for (std::size_t i = 0; i < kFragmentForms.size(); ++i) {
    const FragmentForm& f = kFragmentForms[i];
    if (f.form != l.form) continue;
    const bool fits = f.gathers() ? shared && f.run == (l.run < 8 ? l.run : 8)
                                  : l.block_cols == 1 && f.kept == l.kept && f.group == l.group;
    if (fits) return static_cast<int>(i);
  }
  return -1;
}

/// The look-up form that reads the lists of a form that gathers.
constexpr LookupForm list_form(const FragmentForm& form) {
  return {.form = ChoiceForm::list, .run = form.run, .shared = true};
}

inline constexpr int kFragmentWarps = 8;  // a unit of rows each
inline constexpr int kFragmentRows = kUnitRows * kFragmentWarps;
inline constexpr std::array kFragmentTiles = {8, 16, 32, 64};  // tokens

/// Bytes between the activations of two tokens in shared memory: such that what lanes read together
/// lies in different banks.
constexpr int fragment_stride(int columns, int group) {
  return (columns * 2 + 127) / 128 * 128 + (group == 8 ? 64 : 16);
}

/// How products are divided for each of kFragmentTiles. Ranks, and so the order of sums, do not
/// depend on the tokens. Empty behind the largest tile that fits into `shared_bytes`, or if there
/// is no form for the weight.
std::vector<ElementSplit> split_fragments(const ElementPlan& plan, int multiprocessors,
                                          int shared_bytes, bool clusters);

}  // namespace coppice::cuda
