#include "cpu/packed_weight.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <limits>

#include "coppice/error.h"
#include "core/parallel_for.h"
#include "format/choice_code.h"

namespace coppice::cpu {
namespace {

// Vectors that fill panels of their own. Those of other lengths would leave too many lanes empty:
// each of their rows gets a copy of the choice instead.
bool fills_panels(const Pattern& pattern) {
  return pattern.is_dense() || pattern.vec_rows % kPanelRows == 0 ||
         pattern.vec_rows >= 4 * kPanelRows;
}

// How the lane format sees a column group: `steps` runs of one group each, `step` positions apart.
struct LaneGroup {
  std::int64_t x_begin = 0;
  std::int32_t steps = 1, step = 0;
  std::int32_t slots = 0;  // of one step
};

LaneGroup lane_group(const ColumnGroup& group, bool list_per_vector) {
  if (list_per_vector) return {group.live_col, 1, group.kept_cols, group.kept};
  if (group.block_cols > 1) return {group.col, group.block_cols, group.blocks, group.kept_blocks};
  return {group.col, 1, group.cols, group.kept};
}

// Whether the step of a group that begins at a position of x is one more group of a run.
bool continues(const SlotRun& run, std::int64_t begin, const LaneGroup& lane,
               const ColumnGroup& group) {
  if (run.slots != lane.slots || run.x_step != lane.step) return false;
  if (run.x_begin + run.groups * lane.step != begin) return false;
  return lane.steps > 1 ||
         (run.column_step == group.cols && run.column + run.groups * group.cols == group.col);
}

// Runs for all groups; neighbours at equal distances become one run.
std::vector<SlotRun> slot_runs(const Grid& grid, bool list_per_vector) {
  std::vector<SlotRun> runs;
  for (const ColumnGroup& group : grid.groups()) {
    const LaneGroup lane = lane_group(group, list_per_vector);
    for (std::int32_t i = 0; i < lane.steps; ++i) {
      const std::int64_t begin = lane.x_begin + std::int64_t{i} * lane.step;
      if (!runs.empty() && continues(runs.back(), begin, lane, group))
        ++runs.back().groups;
      else
        runs.push_back({begin, 1, lane.step, lane.slots, group.col, group.cols});
    }
  }
  return runs;
}

std::vector<Panel> make_panels(const Grid& grid, bool list_per_vector) {
  std::vector<Panel> panels;
  auto add = [&](std::int64_t begin, std::int64_t rows, std::int64_t list) {
    for (std::int64_t r = 0; r < rows; r += kPanelRows)
      panels.push_back({begin + r,
                        static_cast<std::int32_t>(std::min<std::int64_t>(kPanelRows, rows - r)),
                        static_cast<std::int32_t>(list)});
  };
  if (!list_per_vector) {
    add(0, grid.rows(), 0);
    return panels;
  }
  std::int64_t list = 0;
  for (const RowVector& vector : grid.vectors()) add(vector.row, vector.rows, list++);
  return panels;
}

std::int64_t original_column(const SparseView& weight, std::int64_t grid_col) {
  return weight.input_permutation.empty()
             ? grid_col
             : weight.input_permutation[static_cast<std::size_t>(grid_col)];
}

// One list for each vector: the columns that it keeps alive.
ColumnLists live_lists(const SparseView& weight, int threads) {
  const Grid& grid = *weight.grid;
  ColumnLists lists(std::ssize(grid.vectors()), grid.live_cols(), grid.cols());
  parallel_ranges(std::ssize(grid.vectors()), threads, [&](auto begin, auto end, int) {
    StoredColumns stored(weight);
    for (std::int64_t vector = begin; vector < end; ++vector) {
      std::int64_t position = 0;
      for (std::int32_t column : stored.seek(vector)) lists.set(vector, position++, column);
    }
  });
  return lists;
}

// One list for the weight: its columns in the order in which the windows want them.
ColumnLists window_order(const SparseView& weight) {
  const Grid& grid = *weight.grid;
  ColumnLists lists(1, grid.cols(), grid.cols());
  for (const ColumnGroup& group : grid.groups()) {
    for (int i = 0; i < group.cols; ++i) {
      const int block = i / group.block_cols, in_block = i % group.block_cols;
      lists.set(0, group.col + std::int64_t{in_block} * group.blocks + block,
                original_column(weight, group.col + i));
    }
  }
  return lists;
}

ColumnLists make_x_order(const SparseView& weight, const PackedLayout& layout, int threads) {
  const Pattern& pattern = weight.grid->pattern();
  if (layout.list_per_vector) return live_lists(weight, threads);
  const bool as_it_is = weight.input_permutation.empty() && pattern.block_cols == 1;
  if (layout.format == WeightFormat::lane && as_it_is) return {};
  return window_order(weight);
}

// Fills panels of one weight. T is an unsigned type of the values' size.
template <typename T>
class PanelWriter {
 public:
  PanelWriter(const SparseView& weight, const PackedLayout& layout)
      : weight_(weight),
        grid_(*weight.grid),
        layout_(layout),
        live_(static_cast<std::size_t>(grid_.live_cols())),
        places_(static_cast<std::size_t>(grid_.kept())) {}

  // @param out [panel_bytes], zeroed
  void write(const Panel& panel, std::byte* out) {
    if (layout_.format == WeightFormat::shared)
      write_shared(panel, out);
    else
      write_lanes(panel, out);
  }

 private:
  T value(std::int64_t row, std::int64_t position) const {
    T v;
    std::memcpy(&v,
                weight_.values.data() + (row * layout_.slots + position) * std::int64_t{sizeof(T)},
                sizeof(T));
    return v;
  }

  void write_shared(const Panel& panel, std::byte* out) const {
    constexpr std::int64_t kBlock = 32;  // slots: 16 row pieces and the output stay in L1
    for (std::int64_t begin = 0; begin < layout_.slots; begin += kBlock) {
      const std::int64_t end = std::min(begin + kBlock, layout_.slots);
      for (std::int32_t lane = 0; lane < panel.rows; ++lane)
        for (std::int64_t s = begin; s < end; ++s)
          put_value(out, s, lane, value(panel.row + lane, s));
    }
  }

  void write_lanes(const Panel& panel, std::byte* out) {
    for (std::int32_t lane = 0; lane < panel.rows; ++lane) {
      const std::int64_t row = panel.row + lane;
      if (const std::int64_t vector = grid_.vector_of(row); vector != vector_) {
        read_live_columns(weight_, vector, live_);
        vector_ = vector;
      }
      read_row_choice(weight_, row, places_);
      for (const ColumnGroup& group : grid_.groups()) write_group(group, row, lane, out);
    }
  }

  // One row's weights of a group. Slots are counted like values; only blocks change their order.
  void write_group(const ColumnGroup& group, std::int64_t row, std::int32_t lane, std::byte* out) {
    std::int64_t slot = group.value;
    if (group.block_cols > 1) {
      for (std::int32_t col = 0; col < group.block_cols; ++col) {
        for (std::int32_t k = 0; k < group.kept_blocks; ++k, ++slot) {
          const std::int32_t in_block = k * group.block_cols;
          const std::int64_t first = live_[static_cast<std::size_t>(group.live_col + in_block)];
          put_index(out, slot, lane, (first - group.col) / group.block_cols);
          put_value(out, slot, lane, value(row, group.value + in_block + col));
        }
      }
      return;
    }
    for (std::int32_t k = 0; k < group.kept; ++k, ++slot) {
      const std::int64_t place = places_[static_cast<std::size_t>(slot)];
      put_index(out, slot, lane,
                layout_.list_per_vector ? place - group.live_col
                                        : live_[static_cast<std::size_t>(place)] - group.col);
      put_value(out, slot, lane, value(row, slot));
    }
  }

  void put_value(std::byte* out, std::int64_t slot, std::int32_t lane, T v) const {
    std::memcpy(out + layout_.slot_offset(slot) + lane * std::int64_t{sizeof(T)}, &v, sizeof(T));
  }

  void put_index(std::byte* out, std::int64_t slot, std::int32_t lane, std::int64_t index) const {
    std::byte* at = out + layout_.word_offset(slot) + lane * std::int64_t{4};
    std::uint32_t word;
    std::memcpy(&word, at, 4);
    word |= static_cast<std::uint32_t>(index)
            << (slot % layout_.slots_per_word * layout_.index_bits);
    std::memcpy(at, &word, 4);
  }

  const SparseView& weight_;
  const Grid& grid_;
  const PackedLayout& layout_;
  std::int64_t vector_ = -1;  // whose live columns are in live_
  std::vector<std::int32_t> live_, places_;
};

template <typename T>
void write_panels(const SparseView& weight, PackedWeight::Impl& impl, int threads) {
  parallel_ranges(std::ssize(impl.panels), threads, [&](auto begin, auto end, int) {
    PanelWriter<T> writer(weight, impl.layout);
    for (std::int64_t p = begin; p < end; ++p) {
      std::byte* out = impl.stream.get() + p * impl.panel_bytes;
      std::memset(out, 0, static_cast<std::size_t>(impl.panel_bytes));
      writer.write(impl.panels[static_cast<std::size_t>(p)], out);
    }
  });
}

}  // namespace

ColumnLists::ColumnLists(std::int64_t lists, std::int64_t length, std::int64_t cols)
    : length_(length) {
  const auto size = static_cast<std::size_t>(lists * length);
  if (cols <= std::numeric_limits<std::uint16_t>::max() + std::int64_t{1})
    narrow_.resize(size);
  else
    wide_.resize(size);
}

void ColumnLists::set(std::int64_t list, std::int64_t position, std::int64_t column) {
  const auto at = static_cast<std::size_t>(list * length_ + position);
  if (is_narrow())
    narrow_[at] = static_cast<std::uint16_t>(column);
  else
    wide_[at] = static_cast<std::uint32_t>(column);
}

PackedLayout packed_layout(const Grid& grid, Dtype dtype) {
  if (dtype != Dtype::f32 && dtype != Dtype::f16 && dtype != Dtype::bf16)
    throw InvalidArgument(fmt::format(
        "the CPU kernels multiply by weights of F32, F16 or BF16, got {}: convert the weight first",
        dtype_name(dtype)));
  const Pattern& pattern = grid.pattern();
  const bool own_panels = fills_panels(pattern);
  PackedLayout layout;
  layout.value_bytes = dtype_bytes(dtype);
  layout.slots = grid.kept();
  layout.cols = grid.cols();
  layout.list_per_vector = own_panels && !pattern.is_dense();
  const bool shared = own_panels && !grid.has_metadata();
  layout.format = shared ? WeightFormat::shared : WeightFormat::lane;
  layout.x_length = layout.list_per_vector ? grid.live_cols() : grid.cols();
  if (own_panels && !pattern.is_dense()) layout.runs = slot_runs(grid, true);
  if (shared) return layout;
  const int reach = layout.list_per_vector ? pattern.kept : pattern.group;
  layout.window = std::max(4, static_cast<int>(std::bit_ceil(static_cast<unsigned>(reach))));
  layout.index_bits = std::bit_width(static_cast<unsigned>(layout.window)) - 1;
  layout.slots_per_word = 32 / layout.index_bits;
  if (!layout.list_per_vector) layout.runs = slot_runs(grid, false);
  return layout;
}

PackedWeight::PackedWeight(const SparseView& weight, int threads) {
  const Grid& grid = *weight.grid;
  auto impl = std::make_unique<Impl>();
  impl->layout = packed_layout(grid, weight.dtype);
  impl->pattern = grid.pattern();
  impl->dtype = weight.dtype;
  impl->rows = grid.rows();
  impl->cols = grid.cols();
  const PackedLayout& layout = impl->layout;
  impl->panels = make_panels(grid, layout.list_per_vector);
  impl->x_order = make_x_order(weight, layout, threads);
  if (layout.list_per_vector)
    impl->input_permutation.assign(weight.input_permutation.begin(),
                                   weight.input_permutation.end());
  impl->panel_bytes = layout.panel_bytes();
  impl->stream =
      aligned_array<std::byte>(impl->panels.size() * static_cast<std::size_t>(impl->panel_bytes));
  if (layout.value_bytes == 4)
    write_panels<std::uint32_t>(weight, *impl, threads);
  else
    write_panels<std::uint16_t>(weight, *impl, threads);
  impl_ = std::move(impl);
}

PackedWeight::PackedWeight(PackedWeight&&) noexcept = default;
PackedWeight& PackedWeight::operator=(PackedWeight&&) noexcept = default;
PackedWeight::~PackedWeight() = default;

std::int64_t PackedWeight::rows() const { return impl_->rows; }
std::int64_t PackedWeight::cols() const { return impl_->cols; }
const Pattern& PackedWeight::pattern() const { return impl_->pattern; }
Dtype PackedWeight::dtype() const { return impl_->dtype; }

std::int64_t PackedWeight::bytes() const {
  return std::ssize(impl_->panels) * (impl_->panel_bytes + std::int64_t{sizeof(Panel)}) +
         impl_->x_order.bytes() + 4 * std::ssize(impl_->input_permutation);
}

}  // namespace coppice::cpu
