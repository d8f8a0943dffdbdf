#include "cuda/blocked/blocked_window.h"

#include <algorithm>
#include <bit>
#include <numeric>

namespace coppice::cuda {
namespace {

constexpr int kMostColumns = 128;  // of a window with more than one group
constexpr int kMostParts = 16;

int ceil_div(int a, int b) { return (a + b - 1) / b; }

// Streams and their slots of a window of so many groups in so many steps; none if there cannot be.
BlockedWindow divided(const ElementLayout& l, int groups, int parts) {
  BlockedWindow w;
  w.groups = groups;
  w.columns = groups * l.group_cols();
  w.parts = parts;
  w.part_columns = ceil_div(w.columns, parts);
  if (l.in_groups()) {
    if (parts > groups || groups % parts != 0) return {};
    w.stream_shift = std::countr_zero(static_cast<unsigned>(groups / parts));
    w.slots = l.group_entries();
    w.windows = ceil_div(l.groups, groups);
  } else {
    const int unit = std::lcm(l.run, kChunkValues);
    w.slots = ceil_div(ceil_div(groups * l.group_entries(), parts), unit) * unit;
    if (parts == 1) w.slots = groups * l.group_entries();
    if ((parts - 1) * w.slots >= groups * l.group_entries()) return {};
    w.windows = ceil_div(l.groups, groups);
  }
  const bool whole = w.slots % kChunkValues == 0 &&
                     (l.in_groups() || groups * l.group_entries() % kChunkValues == 0);
  w.chunks = whole ? w.slots / kChunkValues : (w.slots + 6) / kChunkValues;
  return w;
}

bool fits(const BlockedShape& shape, const ElementLayout& l, const BlockedWindow& w,
          int shared_bytes) {
  const int lists = 4 * shape.row_lists;
  const int items = lists * (l.in_groups() ? w.streams() : w.slots / l.run);
  // A lane notes a column of each of 32 that its warp brings.
  return w.groups > 0 && items <= list_items(l) && w.part_columns <= 32 * shape.warps() &&
         w.shared_bytes(shape) <= shared_bytes;
}

}  // namespace

BlockedWindow blocked_window(const BlockedShape& shape, const ElementLayout& l, int shared_bytes) {
  BlockedWindow best;
  if (!shape.windowed() || l.groups == 0 || l.pieces == 0) return best;
  if (l.in_groups() && l.choice_bits > 32) return best;
  // Least slots of padding, then the largest window, then the longest steps.
  const auto waste = [](const BlockedWindow& w) {
    return static_cast<double>(w.padded_slots()) / (w.streams() * w.slots);
  };
  for (int groups = kElementLanes; groups > 0; groups /= 2) {
    if (groups > 1 && groups * l.group_cols() > kMostColumns) continue;
    for (int parts = 1; parts <= kMostParts; ++parts) {
      const BlockedWindow w = divided(l, groups, parts);
      if (!fits(shape, l, w, shared_bytes)) continue;
      if (best.groups == 0 || waste(w) < waste(best)) best = w;
      break;
    }
  }
  return best;
}

}  // namespace coppice::cuda
