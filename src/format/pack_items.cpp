// Which weights a packed checkpoint holds, and their size.
#include <map>
#include <span>
#include <string_view>
#include <vector>

#include "coppice/checkpoint.h"
#include "coppice/grid.h"

namespace coppice {

std::int64_t packed_bytes(const PackItem& item) {
  return Grid(item.pattern, item.weight.shape).own_bytes(item.weight.dtype) +
         (item.input_permutation ? 4 * item.weight.shape.cols : 0);
}

std::int64_t dense_bytes(const LinearWeight& weight) {
  return weight.shape.rows * weight.shape.cols * dtype_bytes(weight.dtype);
}

CompressOptions compress_options(const PackItem& item, int threads) {
  return {.row_segments = item.weight.shape.row_segments,
          .col_segments = item.weight.shape.col_segments,
          .input_permutation = {},
          .threads = threads};
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

}  // namespace coppice
