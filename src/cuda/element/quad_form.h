// How an element-wise weight becomes 2:4 in registers, and the order of activations that it then
// needs: index arithmetic only, for the host and the device.
//
// A quad is four columns of a group, 4q to 4q + 3; a row keeps at most two of them (N <= 2). Two
// values that follow each other in a lane's stream, of one group or two, are a unit: a code of
// their places gives what the registers of the unit's quads are, and the metadata.
//
// Sparse wgmma of 32 slots of columns wants quads t and t + 4 of them in lane t of a row's four. So
// activations are brought in another order: a block of 64 slots (two products) has four quads in a
// row of every lane's stream, quad n of lane t in slots 16n + 4t to 16n + 4t + 3.
#pragma once

#include <array>

#include "cuda/element/element_layout.h"
#include "cuda/kernels/expand_layout.h"

namespace coppice::cuda {

/// N:M with N of 1 or 2, choices as indices.
struct QuadForm {
  int kept = 2, group = 8, index_bits = 3;
  int units = 16;  ///< of a lane and row in a step of the kernel

  constexpr int pieces() const { return units / 4; }  ///< in a step
  constexpr int unit_groups() const { return 2 / kept; }
  constexpr int unit_quads() const { return unit_groups() * group / 4; }
  constexpr int code_bits() const { return 2 * index_bits; }
  constexpr int words() const { return units * code_bits() / 32; }  ///< in a step
  constexpr int step_columns() const { return kElementLanes * units * unit_quads() * 4; }
  /// What a code stands for, a copy for every lane, so that no two lanes meet in a bank.
  constexpr int table_bytes() const { return 128 << code_bits(); }
};

inline constexpr std::array kQuadForms = {QuadForm{2, 8, 3}, QuadForm{1, 4, 2},
                                          QuadForm{2, 16, 4, 8}};

/// Number of the form of a weight; -1: none.
constexpr int quad_form(const ElementLayout& l) {
  if (l.element_bytes != 2 || l.form != ChoiceForm::indices || l.block_cols != 1) return -1;
  for (std::size_t i = 0; i < kQuadForms.size(); ++i)
    if (kQuadForms[i].kept == l.kept && kQuadForms[i].group == l.group) return static_cast<int>(i);
  return -1;
}

inline constexpr int kBlockSlots = 64;  // two products

/// First place (column in the order of groups) of the four slots 4 * four to 4 * four + 3 of a
/// block.
COPPICE_HOST_DEVICE constexpr int slot_place(int group, int block, int four) {
  const int t = four % kElementLanes, quad = 4 * block + four / kElementLanes;
  const int quads = group / 4;
  return (kElementLanes * (quad / quads) + t) * group + 4 * (quad % quads);
}

/// Byte of four slots of a token in a block of a tile: a row of 128 bytes a token, K-major, in the
/// 128-byte swizzle.
COPPICE_HOST_DEVICE constexpr int slot_byte(int token, int four) {
  return token * 128 + ((four / 2) ^ (token % 8)) * 16 + four % 2 * 8;
}

/// What a unit's code stands for: of quad q, half h of its register takes bits q / 2 * 2 and the
/// one above of nibble 2 * (q % 2) + h (expand::kFirst, kSecond, kZero); its metadata is nibble 4 +
/// q.
COPPICE_HOST_DEVICE constexpr std::uint32_t unit_entry(const QuadForm& form, std::uint32_t code) {
  const int first = static_cast<int>(code & ((1u << form.index_bits) - 1));
  int second = static_cast<int>(code >> form.index_bits);
  if (form.kept == 2 && second <= first) return unit_entry(form, 1u << form.index_bits);  // padding
  if (form.kept == 1) second += form.group;
  std::uint32_t entry = 0;
  for (int q = 0; q < form.unit_quads(); ++q) {
    const expand::QuadEntry one =
        expand::quad_entry(first / 4 == q ? first % 4 : -1, second / 4 == q ? second % 4 : -1);
    entry |= (one.halves & 15) << (8 * (q % 2) + 2 * (q / 2));
    entry |= (one.halves >> 4) << (8 * (q % 2) + 4 + 2 * (q / 2));
    entry |= one.metadata << (16 + 4 * q);
  }
  return entry;
}

/// Tokens of a tile of quad_kernel.h.
inline constexpr std::array kQuadTiles = {32, 64, 256};

/// Warps of a thread block, at most: what registers allow.
constexpr int quad_warps(int tokens) { return tokens <= 64 ? 16 : 8; }

/// Steps of a weight, and blocks of activations.
constexpr int quad_steps(const QuadForm& form, const ElementLayout& l) {
  return (l.pieces + form.pieces() - 1) / form.pieces();
}
constexpr int quad_blocks(const QuadForm& form, const ElementLayout& l) {
  return quad_steps(form, l) * (form.step_columns() / kBlockSlots);
}

}  // namespace coppice::cuda
