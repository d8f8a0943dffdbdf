// The look-up kernels that there are.
#pragma once

#include <array>
#include <cstdint>

#include "coppice/dtype.h"
#include "cuda/element/element_layout.h"
#include "cuda/element/element_plan.h"
#include "cuda/element/pass_limit.h"

namespace coppice::cuda {

/// How choices are read, with constants for the compiler.
struct LookupForm {
  ChoiceForm form = ChoiceForm::indices;
  int index_bits = 0;    ///< indices
  int kept = 0;          ///< indices: of a group, 0: any; mask: of a group
  int group = 0;         ///< mask; indices: 2^index_bits, or 0: any
  int run = 0;           ///< list: 1, 2, 4, or 8: 8 and more
  bool shared = false;   ///< list: see shares_lists
  bool general = false;  ///< everything at run time, straight from memory

  /// Words of choices in a chunk of a lane.
  constexpr int words() const { return form == ChoiceForm::mask ? group / kept : index_bits; }
};

inline constexpr int kLookupThreads = 512;  ///< at most
inline constexpr int kBankColumns = 32;     ///< of floats, side by side
inline constexpr int kMostStages = 4;       ///< of a ring (lookup_ring.h)

inline constexpr std::array kLookupForms = {
    LookupForm{.index_bits = 3, .kept = 2, .group = 8},
    LookupForm{.index_bits = 4, .kept = 2, .group = 16},
    LookupForm{.index_bits = 5, .kept = 2, .group = 32},
    LookupForm{.index_bits = 3, .kept = 2},
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
    LookupForm{.form = ChoiceForm::list, .run = 2, .shared = true},
    LookupForm{.form = ChoiceForm::list, .run = 2},
    LookupForm{.form = ChoiceForm::list, .run = 4, .shared = true},
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
                          : f.index_bits == l.index_bits && (f.kept == 0 || f.kept == l.kept) &&
                                (f.group == 0 || f.group == l.group);
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
  /// Half units that a warp works on together, with one list: a look-up for two values.
  constexpr int halves() const { return type != Dtype::f32 && form.shared ? 2 : 1; }
  /// Of a thread block, at most.
  constexpr int threads() const {
    return lookup_warps(halves() * kUnitRows / 2, element_bytes()) * 32;
  }
  /// Thread blocks that a multiprocessor has registers for: this kernel's and the next one's, whose
  /// weights are then on their way, or where many values are in registers one alone.
  constexpr int residents() const { return tokens > 2 ? 1 : 2; }
  /// Activations lie in shared memory as floats; four tokens of 16 bits as they are.
  constexpr bool as_floats() const { return type == Dtype::f32 || tokens < 4; }
  /// Masks of 4 of 8 are looked up, too: 7 bits (the eighth follows from them) name four bytes,
  /// the places of the kept columns, highest first. Each lane has a table in a bank of its own.
  constexpr bool tabled() const {
    return form.form == ChoiceForm::mask && form.kept == 4 && form.group == 8 &&
           column_bytes() <= 8;
  }
  constexpr int table_bytes() const { return tabled() ? 128 * 32 * 4 : 0; }
  /// Words of choices of a piece in a list, which has 16 bits a run.
  constexpr int list_words() const {
    return form.run >= per_piece() ? 1 : (per_piece() / form.run + 1) / 2;
  }
  /// Words of choices of a lane and chunk.
  constexpr int choice_words() const {
    return form.form == ChoiceForm::list ? pieces() * list_words() : form.words();
  }
  /// Lists that the rows of a half unit have: one each, or one for all.
  constexpr int lists() const { return form.shared ? 1 : kUnitRows / 2; }
  /// Whether a piece's runs, and so any chunk's, begin at multiples of 16 bytes.
  constexpr bool lists_aligned() const {
    return kElementLanes * per_piece() / form.run * 2 % kPieceBytes == 0;
  }
  /// A list of a chunk in shared memory, with what lies around it in the same 16 bytes.
  constexpr int list_bytes() const {
    const int bytes = kElementLanes * kChunkEntries / form.run * 2;
    return (bytes + (lists_aligned() ? 0 : kPieceBytes + kPieceBytes - 2)) / kPieceBytes *
           kPieceBytes;
  }
  /// What all lanes of a warp need for a chunk: values of its rows, and choices.
  constexpr int slot_bytes() const {
    return halves() * 32 * pieces() * kPieceBytes +
           (form.form == ChoiceForm::list ? lists() * list_bytes() : 32 * 4 * choice_words());
  }
  /// Bytes of the activations of a column.
  constexpr int column_bytes() const { return tokens * (as_floats() ? 4 : 2); }
  /// Columns whose banks the groups of a row's four lanes share come in another order, octets
  /// exchanged: kept columns number k of several groups lie at about the same place of each.
  constexpr bool turned() const {
    return form.form == ChoiceForm::mask && (form.group == 16 || form.group == kBankColumns);
  }
  /// What a column's place differs by from its number.
  COPPICE_HOST_DEVICE constexpr std::uint32_t turn(std::uint32_t column) const {
    if (!turned()) return 0;
    const std::uint32_t lane = column / form.group % kElementLanes;  // whose group it is
    return (form.group == 16 ? lane / 2 : lane) * 8;
  }
};

/// Items of a warp that are left when the next kernel may begin where a product has clusters. These
/// do not fill the chip: thread blocks of the next one would crowd on what is free, and be late.
inline constexpr int kLastItems = 2;

/// Where what a thread block has in shared memory lies. Activations come first: their groups of
/// columns begin at multiples of their size.
struct LookupPlaces {
  std::uint32_t table, sums, barriers, slots, bytes;
  int stages;          ///< slots of a warp
  int announce_after;  ///< see there
};
/// Items of a warp after which the next kernel may begin.
constexpr int announce_after(const ElementSplit& s) {
  if (s.ranks == 1 || s.pass_chunks == 0) return 0;
  const int passes = (s.rank_chunks + s.pass_chunks - 1) / s.pass_chunks;
  const int items = (s.tile_parts + s.row_warps - 1) / s.row_warps * s.warp_chunks * passes;
  return items > kLastItems ? items - kLastItems : 0;
}
constexpr LookupPlaces lookup_places(const LookupConfig& config, const ElementSplit& s,
                                     int stages) {
  constexpr std::uint32_t kAlignment = 128;
  const auto up = [](std::uint32_t n) { return (n + kAlignment - 1) / kAlignment * kAlignment; };
  const std::uint32_t slots = s.warps() * stages;
  LookupPlaces at{};
  at.table = up(s.pass_columns * config.column_bytes());
  at.sums = at.table + config.table_bytes();
  at.barriers = up(at.sums + s.chunk_warps * s.rows() * config.tokens * 4);
  at.slots = up(at.barriers + slots * 8);
  at.bytes = at.slots + slots * config.slot_bytes();
  at.stages = stages;
  at.announce_after = announce_after(s);
  return at;
}

/// Four bytes: the places of the set bits of a mask of 8, highest first, times `column_bytes`. The
/// mask is given by its upper 7 bits; those that belong to none have any places.
COPPICE_HOST_DEVICE constexpr std::uint32_t mask_places(std::uint32_t upper, int column_bytes) {
  std::uint32_t places = 0;
  int found = 0;
  for (int bit = 7; bit > 0; --bit)
    if ((upper >> (bit - 1) & 1) != 0 && found < 4)
      places |= static_cast<std::uint32_t>(bit * column_bytes) << 8 * found++;
  return places;  // the fourth may be bit 0
}

}  // namespace coppice::cuda
