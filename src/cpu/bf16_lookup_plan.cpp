#include "cpu/bf16_lookup_plan.h"

#include <algorithm>
#include <limits>

namespace coppice::cpu {
namespace {

// Takes slots in order and joins them to windows and blocks.
class PlanBuilder {
 public:
  // Slots of one group, between two columns (inclusive).
  void add(std::int64_t first, std::int64_t last, std::int32_t slots) {
    const bool joins = first >= begin_ && last - begin_ < kLookupCols;
    if (!joins || window_.slots == 0) {
      close_window();
      begin_ = first;
    }
    window_.slots += slots;
  }

  LookupPlan finish() {
    close_window();
    return std::move(plan_);
  }

 private:
  void close_window() {
    if (window_.slots == 0) return;
    const std::int64_t x_block = begin_ / kLookupBlockCols;
    window_.column = static_cast<std::int32_t>(begin_ % kLookupBlockCols);
    if (plan_.blocks.empty() || plan_.blocks.back().x_block != x_block ||
        plan_.blocks.back().pairs + window_.pairs() > kLookupBlockPairs)
      plan_.blocks.push_back({x_block, slot_, std::ssize(plan_.windows), 0, 0});
    plan_.windows.push_back(window_);
    ++plan_.blocks.back().windows;
    plan_.blocks.back().pairs += window_.pairs();
    slot_ += window_.slots;
    window_ = {};
  }

  LookupPlan plan_;
  LookupWindow window_;
  std::int64_t begin_ = 0;  // of the window
  std::int64_t slot_ = 0;   // its first
};

}  // namespace

bool lookup_supports(const PackedWeight::Impl& weight) {
  const PackedLayout& layout = weight.layout;
  const bool narrow = weight.cols <= std::numeric_limits<std::uint16_t>::max();
  if (layout.list_per_vector && !narrow) return false;
  return layout.format == WeightFormat::shared || weight.pattern.group <= kLookupCols;
}

bool plan_needs_columns(const PackedLayout& layout) {
  return layout.list_per_vector && std::ranges::any_of(layout.runs, [](const SlotRun& run) {
           return run.column_step > kLookupCols;
         });
}

LookupPlan lookup_plan(const PackedLayout& layout, std::span<const std::uint16_t> columns) {
  PlanBuilder builder;
  // Dense: a position is a column.
  for (std::int64_t s = 0; layout.runs.empty() && s < layout.slots; ++s) builder.add(s, s, 1);
  for (const SlotRun& run : layout.runs) {
    const bool whole = !layout.list_per_vector || run.column_step <= kLookupCols;
    const std::int64_t begin = layout.list_per_vector ? run.column : run.x_begin;
    const std::int32_t step = layout.list_per_vector ? run.column_step : run.x_step;
    for (std::int64_t group = 0; whole && group < run.groups; ++group)
      builder.add(begin + group * step, begin + (group + 1) * step - 1, run.slots);
    // Groups wider than a window: by those columns that the vector keeps.
    const std::int64_t end = run.x_begin + run.groups * run.x_step;
    for (std::int64_t position = run.x_begin; !whole && position < end; ++position) {
      const std::int64_t column = columns[static_cast<std::size_t>(position)];
      builder.add(column, column, 1);
    }
  }
  return builder.finish();
}

}  // namespace coppice::cpu
