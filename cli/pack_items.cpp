#include "pack_items.h"

#include <map>
#include <string_view>
#include <utility>

#include "selection.h"

namespace coppice::cli {

std::int64_t packed_bytes(const PackItem& item) {
  return Grid(item.pattern, item.weight.shape).own_bytes(item.weight.dtype) +
         (item.input_permutation ? 4 * item.weight.shape.cols : 0);
}

std::vector<PackItem> worth_packing(std::span<const PackItem> items) {
  auto shrinks = [](const PackItem& item) {
    return !item.pattern.is_dense() && packed_bytes(item) < dense_bytes(item.weight);
  };
  std::map<std::string_view, std::int64_t> shrinking;  // weights of each tensor
  for (const PackItem& item : items) shrinking[item.weight.tensor] += shrinks(item) ? 1 : 0;
  std::vector<PackItem> worth;
  for (const PackItem& item : items)
    if (shrinking.at(item.weight.tensor) == item.weight.count) worth.push_back(item);
  return worth;
}

CompressOptions compress_options(const PackItem& item, int threads) {
  return {.row_segments = item.weight.shape.row_segments,
          .col_segments = item.weight.shape.col_segments,
          .input_permutation = {},
          .threads = threads};
}

Json written_json(const std::string& command, const std::string& input, const std::string& output,
                  Json layers, const WriteReport& written) {
  return {{"command", command},
          {"input", input},
          {"output", output},
          {"layers", std::move(layers)},
          {"checkpoint_bytes_in", written.tensor_bytes_in},
          {"checkpoint_bytes_out", written.tensor_bytes_out},
          {"left_out", written.left_out}};
}

}  // namespace coppice::cli
