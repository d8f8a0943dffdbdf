// The look-up kernels that there are.
#pragma once

#include <array>
#include <cstdint>

#include "coppice/dtype.h"
#include "cuda/element/element_layout.h"

namespace coppice::cuda {

/// How choices are read, with constants for the compiler.
struct LookupForm {
  ChoiceForm form = ChoiceForm::indices;
  int index_bits = 0;    ///< indices
  int kept = 0;          ///< indices: of a group, 0: any; mask: of a group
  int group = 0;         ///< mask
  int run = 0;           ///< list: 1, 2, 4, or 8: 8 and more
  bool shared = false;   ///< list: rows g and g + 8 of every unit are of one vector
  bool general = false;  ///< everything at run time, straight from memory

  /// Words of choices in a chunk of a lane.
  constexpr int words() const { return form == ChoiceForm::mask ? group / kept : index_bits; }
};

inline constexpr std::array kLookupForms = {
    LookupForm{.index_bits = 3, .kept = 2},
    LookupForm{.index_bits = 4, .kept = 2},
    LookupForm{.index_bits = 5, .kept = 2},
    LookupForm{.index_bits = 1},
    LookupForm{.index_bits = 2},
    LookupForm{.index_bits = 3},
    LookupForm{.index_bits = 4},
    LookupForm{.index_bits = 5},
    LookupForm{.index_bits = 6},
    LookupForm{.form = ChoiceForm::mask, .kept = 4, .group = 8},
    LookupForm{.form = ChoiceForm::mask, .kept = 8, .group = 16},
    LookupForm{.form = ChoiceForm::mask, .kept = 8, .group = 32},
    LookupForm{.form = ChoiceForm::mask, .kept = 16, .group = 32},
    LookupForm{.form = ChoiceForm::list, .run = 1, .shared = true},
    LookupForm{.form = ChoiceForm::list, .run = 1},
    LookupForm{.form = ChoiceForm::list, .run = 2},
    LookupForm{.form = ChoiceForm::list, .run = 4},
    LookupForm{.form = ChoiceForm::list, .run = 8, .shared = true},
    LookupForm{.form = ChoiceForm::list, .run = 8},
    LookupForm{.general = true},
};

/// Number of the first that reads such a weight. `shared`: see LookupForm.
constexpr int lookup_form(const ElementLayout& l, bool staged, bool shared) {
  for (std::size_t i = 0; i < kLookupForms.size(); ++i) {
    const LookupForm& f = kLookupForms[i];
    if (f.general) return static_cast<int>(i);
    if (!staged || f.form != l.form) continue;
    if (f.shared && !shared) continue;
    const bool fits = l.form == ChoiceForm::list ? f.run == (l.run < 8 ? l.run : 8)
                      : l.form == ChoiceForm::mask
                          ? f.kept == l.kept && f.group == l.group
                          : f.index_bits == l.index_bits && (f.kept == 0 || f.kept == l.kept);
    if (fits) return static_cast<int>(i);
  }
  return -1;
}

/// A kernel: a way to read choices, a type, tokens that share one reading of the weights.
struct LookupConfig {
  LookupForm form;
  Dtype type = Dtype::f16;
  int tokens = 1;

  constexpr int element_bytes() const { return type == Dtype::f32 ? 4 : 2; }
  constexpr int per_piece() const { return kPieceBytes / element_bytes(); }
  constexpr int pieces() const { return kChunkEntries / per_piece(); }
  /// Rows that a lane loads a chunk of at a time: as many as keep memory busy with 16 warps on a
  /// multiprocessor (70 KB on their way), within 128 registers.
  constexpr int halves() const { return type == Dtype::f32 ? 1 : 2; }
  constexpr bool shared() const { return form.shared && halves() == 2; }
  /// Activations lie in shared memory as floats; four tokens of 16 bits as they are.
  constexpr bool as_floats() const { return type == Dtype::f32 || tokens < 4; }
  /// Bytes of the activations of a column.
  constexpr int column_bytes() const { return tokens * (as_floats() ? 4 : 2); }
};

}  // namespace coppice::cuda
