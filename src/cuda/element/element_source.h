// What belongs at a place of the packed order (element_layout.h): gathered from the canonical
// arrays, for the packing kernel and for the host.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cuda/element/element_layout.h"

namespace coppice::cuda {

/// Pointers are memory of the side that runs it.
struct ElementSource {
  const void* values = nullptr;                // [rows, kept]
  const std::uint8_t* columns = nullptr;       // [vectors, column_bytes]
  const std::uint32_t* permutation = nullptr;  // [cols] or null
  std::int64_t kept = 0, column_bytes = 0;
  const ElementGroup* groups = nullptr;  // [groups], or null: regular
  ElementLayout layout;
};

COPPICE_HOST_DEVICE inline ElementGroup group_at(const ElementSource& s, int j) {
  return s.groups == nullptr ? regular_group(s.layout, j) : s.groups[j];
}

/// The group that a slot of a list belongs to.
COPPICE_HOST_DEVICE inline int slot_group(const ElementSource& s, int slot) {
  if (s.groups == nullptr) return slot / s.layout.group_entries();
  int low = 0, high = s.layout.groups - 1;
  while (low < high) {
    const int middle = (low + high + 1) / 2;
    if (s.groups[middle].slot <= slot)
      low = middle;
    else
      high = middle - 1;
  }
  return low;
}

/// Where in a row's values an entry lies; -1: padding, +0.
COPPICE_HOST_DEVICE inline int canonical_value(const ElementSource& s, LaneEntry e) {
  const ElementLayout& l = s.layout;
  if (e.entry >= l.entries) return -1;
  if (!l.in_groups()) {
    const int slot = list_slot(l, e);
    if (slot >= l.slots) return -1;
    if (s.groups == nullptr) return slot;
    const ElementGroup group = s.groups[slot_group(s, slot)];
    const int place = slot - group.slot;
    return place < group.kept * group.block_cols ? group.value + place : -1;
  }
  const int j = e.entry / l.group_entries() * kElementLanes + e.t;
  if (j >= l.groups) return -1;
  const ElementGroup group = group_at(s, j);
  const int slot = e.entry % l.group_entries();
  int block = slot / l.block_cols;
  const int col = slot % l.block_cols;
  if (l.form == ChoiceForm::mask) block = l.kept - 1 - block;
  if (block >= group.kept || col >= group.block_cols) return -1;
  return group.value + block * group.block_cols + col;
}

COPPICE_HOST_DEVICE inline unsigned canonical_bit(const ElementSource& s, int vector, int bit) {
  return s.columns[vector * s.column_bytes + bit / 8] >> bit % 8 & 1u;
}

/// Bit `bit` of a group's choice as it is packed. A group that keeps less than N keeps all that it
/// has: padding is the places behind them, so that none comes twice.
COPPICE_HOST_DEVICE inline unsigned packed_bit(const ElementSource& s, int vector,
                                               const ElementGroup& group, int bit) {
  const ElementLayout& l = s.layout;
  if (l.form == ChoiceForm::mask) {
    if (bit < group.blocks) return canonical_bit(s, vector, group.bit + bit);
    return bit < l.kept ? 1u : 0u;
  }
  const int number = bit / l.index_bits;
  if (number < group.kept) return canonical_bit(s, vector, group.bit + bit);
  return static_cast<unsigned>(number) >> bit % l.index_bits & 1u;
}

/// A word of choices of (vector, lane t).
COPPICE_HOST_DEVICE inline std::uint32_t packed_word(const ElementSource& s, int vector, int t,
                                                     int word) {
  const ElementLayout& l = s.layout;
  std::uint32_t bits = 0;
  int lane_group = word * 32 / l.choice_bits, bit = word * 32 % l.choice_bits;
  ElementGroup group;
  bool load = true;
  for (int i = 0; i < 32; ++i) {
    if (load) {
      const int j = lane_group * kElementLanes + t;
      group = j < l.groups && vector < l.vectors ? group_at(s, j) : ElementGroup{};
      load = false;
    }
    bits |= packed_bit(s, vector, group, bit) << i;
    if (++bit == l.choice_bits) {
      bit = 0;
      ++lane_group;
      load = true;
    }
  }
  return bits;
}

/// Block number `place` of those that a vector keeps of a group.
COPPICE_HOST_DEVICE inline int kept_block(const ElementSource& s, int vector,
                                          const ElementGroup& group, int place) {
  const ElementLayout& l = s.layout;
  if (l.choice_bits == l.index_bits * l.kept) {
    int block = 0;
    for (int i = 0; i < l.index_bits; ++i)
      block |=
          static_cast<int>(canonical_bit(s, vector, group.bit + place * l.index_bits + i) << i);
    return block;
  }
  int block = 0;
  for (int left = place; block < group.blocks; ++block)
    if (canonical_bit(s, vector, group.bit + block) != 0 && left-- == 0) break;
  return block;
}

/// First column of a run of a vector's list, in permuted order.
COPPICE_HOST_DEVICE inline std::uint16_t run_column(const ElementSource& s, int vector, int run) {
  const ElementLayout& l = s.layout;
  int slot = run * l.run;
  if (slot >= l.slots) slot = l.slots - l.run;  // padding: a run that exists
  const ElementGroup group = group_at(s, slot_group(s, slot));
  const int place = slot - group.slot;
  int block = place / group.block_cols;
  if (block >= group.kept) block = group.kept - 1;
  return static_cast<std::uint16_t>(group.col +
                                    kept_block(s, vector, group, block) * group.block_cols + place -
                                    block * group.block_cols);
}

/// Column of the activations that belongs at a place of the columns as the kernels see them (see
/// ChunkColumns); -1: none, 0.
COPPICE_HOST_DEVICE inline std::int32_t source_column(const ElementSource& s, int place) {
  const ElementLayout& l = s.layout;
  int col = place;
  if (l.in_groups() && s.groups != nullptr) {
    const int j = place / l.group_cols();
    if (j >= l.groups) return -1;
    const int in_group = place - j * l.group_cols();
    if (in_group >= s.groups[j].blocks * s.groups[j].block_cols) return -1;
    col = s.groups[j].col + in_group;
  }
  if (col >= l.cols) return -1;
  return s.permutation == nullptr ? col : static_cast<std::int32_t>(s.permutation[col]);
}

}  // namespace coppice::cuda
