#include "coppice/fisher_order.h"

#include <algorithm>
#include <utility>

#include "coppice/error.h"
#include "core/parallel_for.h"

namespace coppice {

std::optional<WeightShape> cut_at_blocks(WeightShape shape, std::int64_t block,
                                         const Pattern& pattern) {
  const std::int64_t group = pattern.group * pattern.block_cols;
  const std::vector<std::int64_t> whole =
      shape.col_segments.empty() ? std::vector{shape.cols} : shape.col_segments;
  shape.col_segments.clear();
  std::int64_t begin = 0;
  for (const std::int64_t length : whole) {
    const std::int64_t end = begin + length;
    for (std::int64_t at = begin; at < end;) {
      const std::int64_t next = std::min(end, (at / block + 1) * block);
      if (next != end && (next - begin) % group != 0) return std::nullopt;
      shape.col_segments.push_back(next - at);
      at = next;
    }
    begin = end;
  }
  return shape;
}

FisherStatistics gather_fisher(const FisherStatistics& fisher, std::int64_t cols,
                               std::span<const std::uint32_t> rows_order,
                               std::span<const std::uint32_t> cols_order, int threads) {
  const std::int64_t size = fisher.block, in_row = (cols + size - 1) / size;
  // Where each weight of a block comes from; what fills the last block up stays there.
  std::vector<std::int64_t> from(static_cast<std::size_t>(in_row * size));
  for (std::int64_t c = 0; c < in_row * size; ++c) {
    const std::int64_t column =
        c < std::ssize(cols_order) ? std::int64_t{cols_order[static_cast<std::size_t>(c)]} : c;
    if (column / size != c / size)
      throw InvalidArgument("an order of columns leaves its Fisher blocks");
    from[static_cast<std::size_t>(c)] = column % size;
  }
  FisherStatistics gathered{fisher.blocks, fisher.block, fisher.samples,
                            std::vector<double>(fisher.sums.size())};
  parallel_for(fisher.blocks, threads, [&](std::int64_t b) {
    const auto row = static_cast<std::size_t>(b / in_row);
    const std::int64_t old_row = rows_order.empty() ? b / in_row : std::int64_t{rows_order[row]};
    const double* old = fisher.sums.data() + (old_row * in_row + b % in_row) * size * size;
    double* to = gathered.sums.data() + b * size * size;
    const std::int64_t* order = from.data() + b % in_row * size;
    for (std::int64_t i = 0; i < size; ++i)
      for (std::int64_t j = 0; j < size; ++j) to[i * size + j] = old[order[i] * size + order[j]];
  });
  return gathered;
}

}  // namespace coppice
