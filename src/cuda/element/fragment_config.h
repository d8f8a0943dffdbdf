// The tensor core kernels of element packings, and how their products are divided. Host code and
// constants.
#pragma once

#include <algorithm>
#include <array>
#include <vector>

#include "cuda/element/element_plan.h"

namespace coppice::cuda {

/// How a weight becomes fragments of mma.
struct FragmentForm {
  /// indices, mask: N:M is expanded to dense fragments in registers, by a table of byte selections.
  /// list: the values are fragments as they are, and activations are gathered.
  ChoiceForm form = ChoiceForm::indices;
  int kept = 2, group = 8, index_bits = 3;  ///< indices, mask
  int entries = kChunkEntries;              ///< of a lane and row in a step of the kernel

  constexpr bool gathers() const { return form == ChoiceForm::list; }
  constexpr int pieces() const { return entries / 8; }  ///< in a step
  constexpr int lane_groups() const { return entries / kept; }
  constexpr int choice_bits() const { return form == ChoiceForm::mask ? group : kept * index_bits; }
  constexpr int words() const { return lane_groups() * choice_bits() / 32; }  ///< in a step
  constexpr int step_columns() const { return kElementLanes * lane_groups() * group; }

  /// The table has a selector of 2 bytes for every two places, as often as a load of all lanes
  /// needs to have no bank conflicts: 128 bytes a choice.
  constexpr int selector_bytes() const { return group; }
  constexpr int table_bytes() const { return gathers() ? 0 : 128 << choice_bits(); }
};

inline constexpr std::array kFragmentForms = {
    FragmentForm{ChoiceForm::indices, 2, 8, 3, 32},
    FragmentForm{ChoiceForm::mask, 4, 8, 0, 32},
    FragmentForm{ChoiceForm::indices, 2, 16, 4, 16},
    FragmentForm{.form = ChoiceForm::list},
};

inline constexpr int kExpandedForms = 3;  // the first of them

/// Number of the form of a weight; -1: none. `shared`: all rows of every unit belong to one vector.
constexpr int fragment_form(const ElementLayout& l, bool shared) {
  if (l.element_bytes != 2) return -1;
  for (std::size_t i = 0; i < kFragmentForms.size(); ++i) {
    const FragmentForm& f = kFragmentForms[i];
    if (f.form != l.form) continue;
    const bool fits =
        f.gathers() ? shared : l.block_cols == 1 && f.kept == l.kept && f.group == l.group;
    if (fits) return static_cast<int>(i);
  }
  return -1;
}

inline constexpr std::array kFragmentTiles = {8, 16, 32, 64};  // tokens
inline constexpr int kFragmentUnits = 2;                       // of 16 rows, of a warp
inline constexpr int kFragmentWarps = 8;                       // of a thread block, at most

/// Thread blocks on a multiprocessor that registers allow.
constexpr int fragment_residents(int tokens) { return tokens <= 16 ? 2 : 1; }

/// Bytes between the activations of two tokens in shared memory: such that what lanes read together
/// lies in different banks (see also token_octet).
constexpr int fragment_stride(const FragmentForm& form, int columns) {
  const bool halves = form.group == 8 && !form.gathers();
  return (columns * 2 + 127) / 128 * 128 + (halves ? 64 : 16);
}

/// Bytes between panels of 8 tokens, in which a column has 16 bytes.
constexpr int fragment_panel(int columns) { return columns * 16 + 16; }

inline constexpr int kWgmmaWarps = 16;   // of a thread block of fragment_wgmma.h, at most
inline constexpr int kWgmmaTokens = 32;  // fewer are faster by mma (H200)

/// Where things are in shared memory, in bytes: a table, stages of activations as they come, and
/// those of a step in the other order, where the kernel needs that. At the end sums.
struct FragmentPlaces {
  int stages = 2, stage_bytes = 0, turned = 0, bytes = 0;
};

/// @param stage, turned bytes of these. @param units of a thread block, at most.
constexpr FragmentPlaces fragment_places(const FragmentForm& form, int tokens, int stage,
                                         int turned, int units) {
  FragmentPlaces at;
  at.stage_bytes = (stage + 127) / 128 * 128;
  const int limit = (tokens <= 16 ? 112 : 224) * 1024 - form.table_bytes() - turned;
  at.stages = std::clamp(limit / at.stage_bytes, 2, 4);
  at.turned = form.table_bytes() + at.stages * at.stage_bytes;
  at.bytes = std::max(at.turned + turned, 2 * units * kUnitRows * tokens * 4);
  return at;
}

/// @param columns of a step, at most. @param tall activations come a column's tokens together: the
/// order in which they are gathered, but not that in which expanded weights need them.
constexpr FragmentPlaces mma_places(const FragmentForm& form, int tokens, int columns, bool tall) {
  const int by_token = tokens * fragment_stride(form, columns);
  const int by_column = tokens / 8 * fragment_panel(columns);
  const int turned = tall == form.gathers() ? 0 : tall ? by_token : by_column;
  return fragment_places(form, tokens, tall ? by_column : by_token, turned,
                         kFragmentWarps * kFragmentUnits);
}

/// The same of the kernels of fragment_wgmma.h, which have core matrices of all activations.
constexpr FragmentPlaces wgmma_places(const FragmentForm& form, int tokens, bool tall) {
  const int columns = form.step_columns();
  const int stage =
      tall ? tokens / 8 * fragment_panel(columns) : tokens * fragment_stride(form, columns);
  return fragment_places(form, tokens, stage, tokens * columns * 2, kWgmmaWarps);
}

/// How a product is divided. The order of sums follows from the ranks, which are the same for tiles
/// of the same fragment_residents.
struct FragmentSplit {
  bool wgmma = false;          ///< by fragment_wgmma.h
  int warps = kFragmentWarps;  ///< of a thread block
  int ranks = 1;               ///< thread blocks of a cluster, which divide the steps
  int rank_steps = 0;
  int columns = 0;  ///< of a step, at most

  constexpr int block_units() const { return wgmma ? warps : warps * kFragmentUnits; }
  friend bool operator==(const FragmentSplit&, const FragmentSplit&) = default;
};

/// What the division has to know about a device.
struct FragmentDevice {
  int multiprocessors = 0, shared_bytes = 0;
  bool clusters = false, wgmma = false;
};

/// For each of kFragmentTiles. Empty behind the largest tile that fits into shared memory, or if
/// there is no form for the weight.
std::vector<FragmentSplit> split_fragments(const ElementPlan& plan, const FragmentDevice& device);

/// The same for each of kQuadTiles (quad_form.h).
std::vector<FragmentSplit> split_quads(const ElementPlan& plan, const FragmentDevice& device);

}  // namespace coppice::cuda
