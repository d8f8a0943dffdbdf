#include "cuda/blocked/blocked_select.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>

#include "cuda/model/model.h"

namespace coppice::cuda {
namespace {

const BlockedShape& shape_of(const Selection& selection) {
  return kBlockedShapes[static_cast<std::size_t>(selection.shape)];
}

int row_vector(const ElementPlan& plan, int row) {
  return plan.row_vectors.empty() ? row / plan.layout.vec_rows
                                  : plan.row_vectors[static_cast<std::size_t>(row)];
}

// Most vectors in an aligned tile of so many rows; 0: there is none, or a vector ends within eight
// rows that a lane works on together.
int most_vectors(const ElementPlan& plan, int rows) {
  int most = 0;
  const int end = plan.layout.rows;
  for (int row = 0; row < end; row += 8)
    if (row_vector(plan, row) != row_vector(plan, std::min(row + 8, end) - 1)) return 0;
  for (int row = 0; row < end; row += rows)
    most =
        std::max(most, row_vector(plan, std::min(row + rows, end) - 1) - row_vector(plan, row) + 1);
  return most;
}

// See BlockedInfo.
int row_lists(const ElementPlan& plan) {
  const int end = plan.layout.rows;
  for (int row = 0; row < end; row += 4)
    if (row_vector(plan, row) != row_vector(plan, std::min(row + 4, end) - 1)) return 4;
  return 1;
}

// Shared memory that a thread block can use, if so many share a multiprocessor.
int shared_bytes(int residents, const DeviceInfo& device) {
  constexpr int kReserved = 1024;  // for every thread block
  return (device.shared_bytes + kReserved) / residents - kReserved;
}

// Batch-invariant products are by one kind of kernel on every device; fed ones add up as others do.
bool exists(const BlockedShape& shape, const ProductInfo& p, const DeviceInfo& device) {
  if (shape.fed()) return device.has_wgmma;
  return !shape.warpgroups() || (device.has_wgmma && !p.batch_invariant);
}

bool is_asked_for(BlockedMath math, const ProductInfo& p) {
  if (p.batch_invariant && math == BlockedMath::split) return false;
  switch (p.f32_products) {
    case F32Products::automatic:
      return math != BlockedMath::tf32;
    case F32Products::cuda_cores:
      return math == BlockedMath::fp32;
    case F32Products::tf32:
      return math == BlockedMath::tf32;
  }
  return false;
}

}  // namespace

BlockedInfo describe_blocked(const ElementPlan& plan) {
  BlockedInfo info;
  const ElementLayout& l = plan.layout;
  if (l.element_bytes != 4 || l.pieces == 0) return info;
  for (std::size_t i = 0; i < info.lists.size() && !l.in_groups(); ++i)
    info.lists[i] = most_vectors(plan, BlockedInfo::kRows << i);
  // Windows of lists are found by the places of their slots.
  if (l.in_groups() || plan.groups.empty()) info.row_lists = row_lists(plan);
  info.rows = l.rows;
  info.pieces = l.pieces;
  return info;
}

BlockedWindow blocked_window(const BlockedShape& shape, const ProductInfo& p,
                             const DeviceInfo& device) {
  BlockedWindow window;
  for (int residents = shape.thread_blocks; residents > 0 && window.groups == 0; --residents)
    window = blocked_window(shape, p.element.layout, shared_bytes(residents, device));
  return window;
}

int blocked_residents(const BlockedShape& shape, const ProductInfo& p, const DeviceInfo& device) {
  const BlockedWindow window = blocked_window(shape, p, device);
  if (shape.windowed() && window.groups == 0) return 0;
  int residents = shape.thread_blocks;
  const int bytes =
      shape.windowed() ? window.shared_bytes(shape) : shape.shared_bytes(blocked_lists(shape, p));
  while (residents > 0 && bytes > shared_bytes(residents, device)) --residents;
  return residents;
}

int blocked_lists(const BlockedShape& shape, const ProductInfo& p) {
  if (shape.windowed()) return p.blocked.row_lists == shape.row_lists ? shape.row_lists : 0;
  const auto lists = [&](int rows) {
    return p.blocked.lists.at(static_cast<std::size_t>(
        std::countr_zero(static_cast<unsigned>(rows / BlockedInfo::kRows))));
  };
  const int of_tile = lists(shape.rows());
  if (of_tile == 0 || of_tile * shape.step_slots() > shape.threads()) return 0;
  if (shape.fed() && of_tile > 1) return 0;
  // The rows of a warp share what tensor cores multiply by.
  const bool shares = lists(8 * shape.warp_units) == 1;
  return shape.math == BlockedMath::fp32 || shares ? of_tile : 0;
}

std::vector<Selection> blocked_selections(const ProductInfo& p, const DeviceInfo& device) {
  std::vector<Selection> all;
  for (std::size_t i = 0; i < kBlockedShapes.size(); ++i) {
    const BlockedShape& shape = kBlockedShapes[i];
    if (blocked_lists(shape, p) == 0 || !is_asked_for(shape.math, p)) continue;
    if (!exists(shape, p, device)) continue;
    if (p.batch_invariant && shape.slices > 1) continue;  // add up in another order
    if (blocked_residents(shape, p, device) == 0) continue;
    Selection selection;
    selection.family = Family::blocked;
    selection.shape = static_cast<int>(i);
    selection.transpose = p.token_major;
    selection.repack = !p.token_major && !p.aligned;
    // token_group counts elements of 16 bits.
    selection.token_group = token_group(Family::blocked, p, 2 * shape.tokens(), device);
    all.push_back(selection);
  }
  // One kind of kernel whatever the tokens.
  const auto windowed = [](const Selection& one) { return shape_of(one).windowed(); };
  if (p.batch_invariant && !std::ranges::all_of(all, windowed)) std::erase_if(all, windowed);
  return all;
}

bool can_run_blocked(const ProductInfo& p, const DeviceInfo& device) {
  return !blocked_selections(p, device).empty();
}

Selection select_blocked(const ProductInfo& p, const DeviceInfo& device) {
  const std::vector<Selection> all = blocked_selections(p, device);
  return *std::ranges::min_element(
      all, {}, [&](const Selection& s) { return model::predict(s, p, device).seconds; });
}

bool is_tf32(const Selection& selection) {
  if (selection.family == Family::unpack) return selection.shape == 1;
  return selection.family == Family::blocked && shape_of(selection).math == BlockedMath::tf32;
}

std::string blocked_name(const Selection& selection) {
  const BlockedShape& s = shape_of(selection);
  const char* math = s.math == BlockedMath::fp32    ? "fp32"
                     : s.math == BlockedMath::split ? "3xtf32"
                                                    : "tf32";
  return fmt::format("blocked {} {}x{}{}{}", math, s.rows(), s.tokens(),
                     s.windowed()     ? " windows"
                     : s.warpgroups() ? " wgmma"
                                      : "",
                     s.slices > 1 ? fmt::format(" {} slices", s.slices) : "");
}

bool same_blocked_sums(const Selection& a, const Selection& b) {
  const BlockedShape &one = shape_of(a), &other = shape_of(b);
  return one.math == other.math && one.slices == other.slices &&
         one.windowed() == other.windowed() && one.group_pieces == other.group_pieces;
}

bool prefers_blocked(const ProductInfo& p, const DeviceInfo& device) {
  // Vectors of fewer than 32 rows have TF32 in tiles of 256 tokens only.
  constexpr int k32Rows = 2;  // of BlockedInfo::lists
  const bool always =
      p.batch_invariant || (p.f32_products == F32Products::tf32 && p.blocked.lists[k32Rows] == 1);
  // Look-ups read the weight for every four tokens; a product of so few looks no further.
  if ((!always && p.tokens <= 4) || !can_run_blocked(p, device)) return false;
  return always || model::predict(select_blocked(p, device), p, device).seconds <
                       model::lookup_cost(4, p, device).seconds;
}

}  // namespace coppice::cuda
