// Writers of whole checkpoints: each turns its input into a plan of small steps, file by file.
#include <fmt/format.h>

#include <map>
#include <unordered_map>
#include <utility>

#include "coppice/error.h"
#include "format/checkpoint_adapter.h"
#include "format/checkpoint_impl.h"
#include "format/checkpoint_output.h"
#include "format/checkpoint_plan.h"
#include "format/safetensors_header.h"

namespace coppice {
namespace {

using Buffer = std::unique_ptr<std::byte[]>;
Buffer make_buffer(std::size_t bytes) { return std::make_unique_for_overwrite<std::byte[]>(bytes); }

// The chosen weights of each tensor, by their index in its stack.
template <typename Item>
using ByTensor = std::unordered_map<std::string_view, std::map<std::int64_t, const Item*>>;

const LinearWeight& weight_of(const LinearWeight& weight) { return weight; }
const LinearWeight& weight_of(const PackItem& item) { return item.weight; }

template <typename Item>
ByTensor<Item> by_tensor(const Checkpoint::Impl& input, std::span<const Item> items) {
  ByTensor<Item> result;
  for (const Item& item : items) {
    const LinearWeight& weight = weight_of(item);
    input.data(weight);  // throws if it is none of this checkpoint
    if (!result[weight.tensor].emplace(weight.index, &item).second)
      throw InvalidArgument(fmt::format("weight '{}' is given twice", printable(weight.name)));
  }
  return result;
}

// The weights of one tensor through an edit, or copied.
void write_edited(const Checkpoint::Impl& input, std::size_t position, std::size_t declared,
                  const std::map<std::int64_t, const LinearWeight*>& weights, const DenseEdit& edit,
                  const WriteOptions& options, SafetensorsWriter& writer) {
  const LinearWeight& first = *weights.begin()->second;
  const std::span<const std::byte> all = input.data(position);
  const std::size_t bytes = weight_bytes(first);
  const Buffer buffer = make_buffer(bytes);
  for (std::int64_t i = 0; i < first.count; ++i) {
    const auto stored = all.subspan(static_cast<std::size_t>(i) * bytes, bytes);
    if (auto it = weights.find(i); it != weights.end()) {
      const LinearWeight& weight = *it->second;
      load_weight(weight, stored, buffer.get(), options.threads);
      input.file_of(position).drop(stored);
      edit(weight, {buffer.get(), weight.dtype, weight.shape.rows, weight.shape.cols, 0});
      store_weight(weight, buffer.get(), options.threads,
                   [&](std::span<const std::byte> part) { writer.append(declared, part); });
    } else {
      writer.append(declared, stored);
      input.file_of(position).drop(stored);
    }
  }
}

// A step that sends the chosen weights of a tensor through an edit; the arguments must outlive it.
Step edit_step(const Checkpoint::Impl& input, std::size_t position,
               const std::map<std::int64_t, const LinearWeight*>& weights, const DenseEdit& edit,
               const WriteOptions& options, FilePlan& plan) {
  Step step = copy_step(input, position, plan);
  step.write = [&input, &edit, &options, &weights, position,
                declared = plan.tensors.size() - 1](SafetensorsWriter& writer) {
    write_edited(input, position, declared, weights, edit, options, writer);
  };
  return step;
}

// The declared arrays of one packed weight.
struct PackedTarget {
  const PackItem* item = nullptr;
  std::size_t values = 0, columns = 0, metadata = 0, input_permutation = 0;
};

PackedTarget declare_packed(FilePlan& plan, const PackItem& item) {
  const LinearWeight& weight = item.weight;
  const Grid grid(item.pattern, weight.shape);
  const PackedNames names(weight.name);
  PackedTarget target{&item};
  target.values = plan.declare(names.values, weight.dtype, {grid.rows(), grid.kept()});
  if (grid.has_columns())
    target.columns = plan.declare(names.columns, Dtype::u8,
                                  {std::ssize(grid.vectors()), grid.column_bytes_per_vector()});
  if (grid.has_metadata())
    target.metadata =
        plan.declare(names.metadata, Dtype::u8, {grid.rows(), grid.metadata_bytes_per_row()});
  if (item.input_permutation)
    target.input_permutation = plan.declare(names.input_permutation, Dtype::u32, {grid.cols()});
  return target;
}

void write_arrays(const PackedTarget& target, const SparseMatrix& sparse,
                  SafetensorsWriter& writer) {
  const PackItem& item = *target.item;
  const Grid& grid = *sparse.grid;
  if (grid.pattern() != item.pattern || grid.shape() != item.weight.shape ||
      sparse.dtype != item.weight.dtype ||
      sparse.input_permutation.empty() == item.input_permutation)
    throw InvalidArgument(
        fmt::format("weight '{}' was compressed to another pattern, shape, dtype "
                    "or permutation than planned",
                    printable(item.weight.name)));
  writer.append(target.values, sparse.values);
  if (grid.has_columns()) writer.append(target.columns, sparse.columns);
  if (grid.has_metadata()) writer.append(target.metadata, sparse.metadata);
  if (item.input_permutation)
    writer.append(target.input_permutation, std::as_bytes(std::span(sparse.input_permutation)));
}

Step pack_step(const Checkpoint& checkpoint, std::size_t position,
               const std::map<std::int64_t, const PackItem*>& items,
               const WeightCompressor& compressor, const WriteOptions& options, FilePlan& plan) {
  const CheckpointTensor& tensor = checkpoint.tensors()[position];
  const std::int64_t count = items.begin()->second->weight.count;
  if (std::ssize(items) != count)
    throw InvalidArgument(
        fmt::format("only {} of the {} weights stacked in '{}' are to be packed; "
                    "pack all or none",
                    items.size(), count, printable(tensor.name)));
  std::vector<PackedTarget> targets;
  for (const auto& [index, item] : items) targets.push_back(declare_packed(plan, *item));
  return {tensor.name, checkpoint.impl().data(position).size(),
          [&checkpoint, &compressor, &options, targets](SafetensorsWriter& writer) {
            for (const PackedTarget& target : targets) {
              const WeightData dense = checkpoint.read(target.item->weight, options.threads);
              const SparseMatrix sparse = compressor(*target.item, dense.view());
              checkpoint.drop(target.item->weight);
              write_arrays(target, sparse, writer);
            }
          }};
}

std::vector<std::int64_t> stored_shape(const LinearWeight& weight) {
  std::vector<std::int64_t> shape{weight.shape.rows, weight.shape.cols};
  if (weight.transposed) std::swap(shape[0], shape[1]);
  if (weight.stacked) shape.insert(shape.begin(), weight.count);
  return shape;
}

// All weights of one tensor, in the order of its stack, given the first of them.
Step unpack_step(const Checkpoint& checkpoint, const PackedEntry& first,
                 const WriteOptions& options, FilePlan& plan) {
  std::vector<const PackedEntry*> entries;
  std::uint64_t bytes = 0;
  for (std::int64_t i = 0; i < first.weight.count; ++i) {
    entries.push_back(first.weight.stacked
                          ? checkpoint.find_packed(fmt::format("{}.{}", first.weight.tensor, i))
                          : &first);
    bytes += checkpoint.impl()
                 .data(*checkpoint.impl().position(PackedNames(entries.back()->weight.name).values))
                 .size();
  }
  const std::size_t declared =
      plan.declare(first.weight.tensor, first.weight.dtype, stored_shape(first.weight));
  return {first.weight.tensor, bytes,
          [&checkpoint, &options, entries, declared](SafetensorsWriter& writer) {
            const LinearWeight& shape = entries.front()->weight;
            const Buffer buffer = make_buffer(weight_bytes(shape));
            for (const PackedEntry* entry : entries) {
              const LinearWeight& weight = entry->weight;
              const PackedData packed = checkpoint.read_packed(*entry, options.threads);
              decompress(packed.view(),
                         {buffer.get(), weight.dtype, weight.shape.rows, weight.shape.cols, 0},
                         options.threads);
              checkpoint.drop(*entry);
              store_weight(weight, buffer.get(), options.threads,
                           [&](std::span<const std::byte> part) { writer.append(declared, part); });
            }
          }};
}

}  // namespace

WriteReport write_dense(const Checkpoint& checkpoint, const std::filesystem::path& out,
                        std::span<const LinearWeight> weights, const DenseEdit& edit,
                        const WriteOptions& options) {
  const Checkpoint::Impl& input = checkpoint.impl();
  const std::filesystem::path target = resolve_output(input.directory, out);
  const ByTensor<LinearWeight> chosen = by_tensor(input, weights);
  OutputPlan plan = plan_like(input);
  for (std::size_t position = 0; position < input.tensors.size(); ++position) {
    const CheckpointTensor& tensor = input.tensors[position];
    FilePlan& file = plan.files[tensor.file];
    auto it = chosen.find(tensor.name);
    file.steps.push_back(it == chosen.end()
                             ? copy_step(input, position, file)
                             : edit_step(input, position, it->second, edit, options, file));
  }
  return write_output(checkpoint, target, plan, options);
}

WriteReport write_packed(const Checkpoint& checkpoint, const std::filesystem::path& out,
                         std::span<const PackItem> items, const WeightCompressor& compressor,
                         const WriteOptions& options, const DenseChanges& changes) {
  const Checkpoint::Impl& input = checkpoint.impl();
  const std::filesystem::path target = resolve_output(input.directory, out);
  if (input.packed)
    throw InvalidArgument(
        fmt::format("{}: packed already; unpack it first", input.directory.string()));
  if (const std::string method = foreign_quantization(input.config); !method.empty())
    throw InvalidArgument(
        fmt::format("{}: quantised by {}; needed is a checkpoint without "
                    "quantization_config",
                    input.directory.string(), method));
  const ByTensor<PackItem> chosen = by_tensor(input, items);
  const ByTensor<LinearWeight> changed = by_tensor(input, changes.weights);
  OutputPlan plan = plan_like(input);
  plan.rewrite_index = true;
  plan.config = packed_config_text(input.config_text, items);
  for (FilePlan& file : plan.files)
    file.metadata.insert_or_assign(kFormatKey, std::string(kFormatText));
  for (std::size_t position = 0; position < input.tensors.size(); ++position) {
    const CheckpointTensor& tensor = input.tensors[position];
    FilePlan& file = plan.files[tensor.file];
    auto pack = chosen.find(tensor.name);
    auto change = changed.find(tensor.name);
    if (pack != chosen.end() && change != changed.end())
      throw InvalidArgument(
          fmt::format("tensor '{}' is to be packed and changed", printable(tensor.name)));
    if (pack != chosen.end())
      file.steps.push_back(
          pack_step(checkpoint, position, pack->second, compressor, options, file));
    else if (change != changed.end())
      file.steps.push_back(edit_step(input, position, change->second, changes.edit, options, file));
    else
      file.steps.push_back(copy_step(input, position, file));
  }
  return write_output(checkpoint, target, plan, options);
}

WriteReport write_unpacked(const Checkpoint& checkpoint, const std::filesystem::path& out,
                           const WriteOptions& options) {
  const Checkpoint::Impl& input = checkpoint.impl();
  const std::filesystem::path target = resolve_output(input.directory, out);
  if (!input.packed)
    throw InvalidArgument(fmt::format("{}: not packed by Coppice; there is nothing to unpack",
                                      input.directory.string()));
  std::unordered_map<std::string, const PackedEntry*> arrays;  // name of each array -> its weight
  for (const PackedEntry& entry : input.entries) {
    const PackedNames names(entry.weight.name);
    for (const std::string& name :
         {names.values, names.columns, names.metadata, names.input_permutation})
      arrays.emplace(name, &entry);
  }
  OutputPlan plan = plan_like(input);
  plan.rewrite_index = true;
  plan.config = unpacked_config_text(input.config_text);
  for (FilePlan& file : plan.files) file.metadata.erase(kFormatKey);
  for (std::size_t position = 0; position < input.tensors.size(); ++position) {
    const CheckpointTensor& tensor = input.tensors[position];
    FilePlan& file = plan.files[tensor.file];
    auto it = arrays.find(tensor.name);
    if (it == arrays.end()) {
      file.steps.push_back(copy_step(input, position, file));
    } else if (const PackedEntry& entry = *it->second;
               entry.weight.index == 0 && tensor.name == PackedNames(entry.weight.name).values) {
      file.steps.push_back(unpack_step(checkpoint, entry, options, file));
    }
  }
  return write_output(checkpoint, target, plan, options);
}

}  // namespace coppice
