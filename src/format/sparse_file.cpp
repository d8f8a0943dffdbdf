#include "coppice/sparse_file.h"

#include <fmt/format.h>

#include <memory>
#include <vector>

#include "coppice/error.h"
#include "format/checkpoint_impl.h"
#include "format/safetensors_header.h"

namespace coppice {
namespace {

PackItem item_of(const std::string& name, const SparseView& sparse) {
  PackItem item;
  item.weight.name = item.weight.tensor = name;
  item.weight.dtype = sparse.dtype;
  item.weight.shape = sparse.grid->shape();
  item.pattern = sparse.grid->pattern();
  item.input_permutation = !sparse.input_permutation.empty();
  if (sparse.grid->rows() == 0 || sparse.grid->cols() == 0)
    throw InvalidArgument(fmt::format("weight '{}' is {} x {}: an empty weight cannot be written",
                                      printable(name), sparse.grid->rows(), sparse.grid->cols()));
  return item;
}

// One array of a file, and where its bytes are.
struct StoredArray {
  TensorInfo info;
  std::span<const std::byte> bytes;
};

void add_arrays(const std::string& name, const SparseView& sparse, std::vector<StoredArray>& out) {
  const PackedNames names(name);
  const Grid& grid = *sparse.grid;
  out.push_back({{names.values, sparse.dtype, {grid.rows(), grid.kept()}}, sparse.values});
  if (grid.has_columns())
    out.push_back(
        {{names.columns, Dtype::u8, {std::ssize(grid.vectors()), grid.column_bytes_per_vector()}},
         sparse.columns});
  if (grid.has_metadata())
    out.push_back({{names.metadata, Dtype::u8, {grid.rows(), grid.metadata_bytes_per_row()}},
                   sparse.metadata});
  if (!sparse.input_permutation.empty())
    out.push_back({{names.input_permutation, Dtype::u32, {grid.cols()}},
                   std::as_bytes(sparse.input_permutation)});
}

SparseMatrix copy_of(const SparseView& view) {
  return {view.grid,
          view.dtype,
          {view.values.begin(), view.values.end()},
          {view.columns.begin(), view.columns.end()},
          {view.metadata.begin(), view.metadata.end()},
          {view.input_permutation.begin(), view.input_permutation.end()}};
}

}  // namespace

void write_sparse(const std::filesystem::path& path,
                  const std::map<std::string, SparseView, std::less<>>& weights) {
  std::vector<PackItem> items;
  std::vector<StoredArray> arrays;
  for (const auto& [name, sparse] : weights) {
    items.push_back(item_of(name, sparse));
    add_arrays(name, sparse, arrays);
  }
  std::vector<TensorInfo> tensors;
  for (const StoredArray& array : arrays) tensors.push_back(array.info);
  const auto text =
      quantization_config(items).dump(-1, ' ', false, ConfigJson::error_handler_t::replace);
  SafetensorsWriter writer(path, tensors, {{kFormatKey, kFormatText}, {kQuantizationKey, text}});
  for (std::size_t i = 0; i < arrays.size(); ++i) writer.append(i, arrays[i].bytes);
  writer.commit();
}

std::map<std::string, SparseMatrix, std::less<>> read_sparse(const std::filesystem::path& path,
                                                             int threads) {
  const Checkpoint file = Checkpoint::open_packed_file(path);
  std::map<std::string, SparseMatrix, std::less<>> weights;
  for (const PackedEntry& entry : file.packed_weights())
    weights.emplace(entry.weight.name, copy_of(file.read_packed(entry, threads).view()));
  return weights;
}

}  // namespace coppice
