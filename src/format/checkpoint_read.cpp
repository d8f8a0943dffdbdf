// Weights of an open checkpoint, dense or packed.
#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <set>
#include <utility>

#include "coppice/cancel.h"
#include "coppice/error.h"
#include "format/checkpoint_adapter.h"
#include "format/checkpoint_impl.h"
#include "format/safetensors_header.h"

static_assert(std::endian::native == std::endian::little,
              "safetensors and the canonical form are little-endian and read in place");

namespace coppice {
namespace {

bool is_aligned(std::span<const std::byte> bytes, int element_bytes) {
  return reinterpret_cast<std::uintptr_t>(bytes.data()) % static_cast<unsigned>(element_bytes) == 0;
}

[[noreturn]] void bad_entry(const Checkpoint::Impl& impl, const PackedEntry& entry,
                            std::string_view what) {
  throw FileError(fmt::format("{}: packed weight '{}': {}", impl.directory.string(),
                              printable(entry.weight.name), what));
}

// Position of one array, whose dtype and shape must be as given.
std::size_t array_position(const Checkpoint::Impl& impl, const PackedEntry& entry,
                           const std::string& name, Dtype dtype,
                           const std::vector<std::int64_t>& shape) {
  const std::optional<std::size_t> position = impl.position(name);
  if (!position) bad_entry(impl, entry, fmt::format("tensor '{}' is missing", printable(name)));
  const CheckpointTensor& tensor = impl.tensors[*position];
  if (tensor.dtype != dtype || tensor.shape != shape)
    bad_entry(impl, entry,
              fmt::format("tensor '{}' is {} [{}], needed is {} [{}]", printable(name),
                          dtype_name(tensor.dtype), fmt::join(tensor.shape, ", "),
                          dtype_name(dtype), fmt::join(shape, ", ")));
  return *position;
}

// The grid of an untrusted entry. Its size is first held against the values that are really in the
// file: a lying shape must not cost memory.
std::shared_ptr<const Grid> make_grid(const Checkpoint::Impl& impl, const PackedEntry& entry) {
  const std::optional<std::size_t> values = impl.position(PackedNames(entry.weight.name).values);
  if (!values) bad_entry(impl, entry, "its values are missing");
  const std::vector<std::int64_t>& stored = impl.tensors[*values].shape;
  const WeightShape& shape = entry.weight.shape;
  const std::int64_t most_cols_per_kept =
      std::int64_t{entry.pattern.group} * entry.pattern.block_cols;
  if (stored.size() != 2 || stored[0] != shape.rows || stored[1] < 1 ||
      stored[1] < shape.cols / most_cols_per_kept)
    bad_entry(impl, entry, "its values do not fit its shape");
  if (std::ssize(shape.row_segments) > shape.rows || std::ssize(shape.col_segments) > shape.cols)
    bad_entry(impl, entry, "it has more segments than rows or columns");
  try {
    return std::make_shared<const Grid>(entry.pattern, shape);
  } catch (const InvalidArgument& error) {
    bad_entry(impl, entry, error.what());
  }
}

// Where the arrays of a weight lie; those that its pattern does not have stay empty.
struct ArrayPositions {
  std::size_t values = 0;
  std::optional<std::size_t> columns, metadata, input_permutation;
};

ArrayPositions find_arrays(const Checkpoint::Impl& impl, const PackedEntry& entry,
                           const Grid& grid) {
  const PackedNames names(entry.weight.name);
  ArrayPositions result;
  result.values =
      array_position(impl, entry, names.values, entry.weight.dtype, {grid.rows(), grid.kept()});
  if (grid.has_columns())
    result.columns = array_position(impl, entry, names.columns, Dtype::u8,
                                    {std::ssize(grid.vectors()), grid.column_bytes_per_vector()});
  if (grid.has_metadata())
    result.metadata = array_position(impl, entry, names.metadata, Dtype::u8,
                                     {grid.rows(), grid.metadata_bytes_per_row()});
  if (entry.has_input_permutation)
    result.input_permutation =
        array_position(impl, entry, names.input_permutation, Dtype::u32, {grid.cols()});
  return result;
}

// The weights of a stacked tensor must be all there and look alike.
void check_stacks(const Checkpoint::Impl& impl) {
  for (const PackedEntry& entry : impl.entries) {
    const LinearWeight& weight = entry.weight;
    if (impl.position(weight.tensor))
      bad_entry(impl, entry, "its tensor is there unpacked as well");
    if (!weight.stacked) continue;
    if (weight.count > std::ssize(impl.entries)) bad_entry(impl, entry, "its stack is incomplete");
    auto first = impl.entry_by_name.find(fmt::format("{}.0", weight.tensor));
    if (first == impl.entry_by_name.end()) bad_entry(impl, entry, "its stack is incomplete");
    const LinearWeight& other = impl.entries[first->second].weight;
    if (other.tensor != weight.tensor || !other.stacked || other.count != weight.count ||
        other.dtype != weight.dtype || other.transposed != weight.transposed ||
        other.shape.rows != weight.shape.rows || other.shape.cols != weight.shape.cols)
      bad_entry(impl, entry, "it does not look like the first weight of its stack");
    if (weight.index > 0) continue;
    for (std::int64_t i = 1; i < weight.count; ++i)
      if (!impl.entry_by_name.contains(fmt::format("{}.{}", weight.tensor, i)))
        bad_entry(impl, entry, fmt::format("weight {} of its stack is missing", i));
  }
}

}  // namespace

void load_packed_entries(Checkpoint::Impl& impl) {
  std::vector<PackedEntry> entries = parse_packed_entries(impl.config, impl.config_name);
  std::vector<std::pair<std::size_t, std::size_t>> order;  // position of values, entry
  for (std::size_t i = 0; i < entries.size(); ++i) {
    const std::shared_ptr<const Grid> grid = make_grid(impl, entries[i]);
    order.emplace_back(find_arrays(impl, entries[i], *grid).values, i);
  }
  std::ranges::sort(order);
  for (const auto& [position, i] : order) impl.entries.push_back(std::move(entries[i]));
  for (std::size_t i = 0; i < impl.entries.size(); ++i)
    if (!impl.entry_by_name.emplace(impl.entries[i].weight.name, i).second)
      bad_entry(impl, impl.entries[i], "it is listed twice");
  check_stacks(impl);
}

std::span<const std::byte> Checkpoint::Impl::data(const LinearWeight& weight) const {
  const std::optional<std::size_t> position = this->position(weight.tensor);
  if (!position)
    throw InvalidArgument(
        fmt::format("{}: there is no tensor '{}'", directory.string(), printable(weight.tensor)));
  const std::span<const std::byte> all = data(*position);
  const CheckpointTensor& tensor = tensors[*position];
  const bool in_range = weight.index >= 0 && weight.index < weight.count;
  const std::int64_t rows = weight.transposed ? weight.shape.cols : weight.shape.rows;
  const std::int64_t cols = weight.transposed ? weight.shape.rows : weight.shape.cols;
  std::vector<std::int64_t> shape{rows, cols};
  if (weight.stacked) shape.insert(shape.begin(), weight.count);
  if (!in_range || tensor.shape != shape || tensor.dtype != weight.dtype ||
      !is_weight_dtype(weight.dtype))
    throw InvalidArgument(fmt::format("{}: '{}' does not describe tensor '{}'", directory.string(),
                                      printable(weight.name), printable(tensor.name)));
  const std::size_t bytes = weight_bytes(weight);
  return all.subspan(static_cast<std::size_t>(weight.index) * bytes, bytes);
}

WeightData Checkpoint::read(const LinearWeight& weight, int threads) const {
  throw_if_cancelled();
  const std::span<const std::byte> stored = impl_->data(weight);
  WeightData result;
  result.view_ = {stored.data(), weight.dtype, weight.shape.rows, weight.shape.cols, 0};
  if (!weight.transposed && is_aligned(stored, dtype_bytes(weight.dtype))) return result;
  result.owned_ = std::make_unique_for_overwrite<std::byte[]>(stored.size());
  load_weight(weight, stored, result.owned_.get(), threads);
  result.view_.data = result.owned_.get();
  return result;
}

void Checkpoint::drop(const LinearWeight& weight) const {
  if (const std::optional<std::size_t> position = impl_->position(weight.tensor))
    impl_->file_of(*position).drop(impl_->data(weight));
}

PackedData Checkpoint::read_packed(const PackedEntry& entry, int threads) const {
  throw_if_cancelled();
  const std::shared_ptr<const Grid> grid = make_grid(*impl_, entry);
  const ArrayPositions at = find_arrays(*impl_, entry, *grid);
  PackedData result;
  SparseView& view = result.view_;
  view.grid = grid;
  view.dtype = entry.weight.dtype;
  view.values = impl_->data(at.values);
  if (!is_aligned(view.values, dtype_bytes(view.dtype))) {
    result.values_ = std::make_unique_for_overwrite<std::byte[]>(view.values.size());
    std::memcpy(result.values_.get(), view.values.data(), view.values.size());
    view.values = {result.values_.get(), view.values.size()};
  }
  if (at.columns) view.columns = impl_->data(*at.columns);
  if (at.metadata) view.metadata = impl_->data(*at.metadata);
  if (at.input_permutation) {
    const std::span<const std::byte> bytes = impl_->data(*at.input_permutation);
    result.permutation_.resize(bytes.size() / sizeof(std::uint32_t));
    std::memcpy(result.permutation_.data(), bytes.data(), bytes.size());
    view.input_permutation = result.permutation_;
  }
  try {
    validate(view, threads);
  } catch (const InvalidArgument& error) {
    bad_entry(*impl_, entry, error.what());
  }
  return result;
}

void Checkpoint::drop(const PackedEntry& entry) const {
  const PackedNames names(entry.weight.name);
  for (const std::string& name :
       {names.values, names.columns, names.metadata, names.input_permutation})
    if (const std::optional<std::size_t> position = impl_->position(name))
      impl_->file_of(*position).drop(impl_->data(*position));
}

}  // namespace coppice
