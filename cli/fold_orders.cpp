#include "fold_orders.h"

#include <fmt/format.h>

#include <algorithm>

#include "progress.h"

namespace coppice::cli {
namespace {

// True if the other weights of the fold keep what they keep under any order of their rows.
bool rows_are_free(const Fold& fold, const std::map<std::string, Pattern>& patterns) {
  return std::ranges::all_of(fold.slices, [&](const FoldSlice& slice) {
    const auto pruned = patterns.find(slice.tensor);
    return pruned == patterns.end() || pruned->first == fold.consumer ||
           pruned->second.vec_rows == 1;
  });
}

// True if groups of columns end where heads do: then an order inside of heads is one inside of
// segments of the pattern.
bool groups_fit(const Fold& fold, const Pattern& pattern) {
  return fold.head_channels % (pattern.group * pattern.block_cols) == 0;
}

// Copies of a channel as rows of one column, since they get one order.
std::vector<float> stacked(std::vector<float> values, std::int64_t rows, const Fold& fold) {
  const std::int64_t copies = fold.copies();
  if (copies == 1) return values;
  const auto cols = static_cast<std::size_t>(copies * fold.size);
  std::vector<float> out;
  out.reserve(values.size());
  for (std::int64_t copy = 0; copy < copies; ++copy) {
    const std::vector<std::size_t> columns = fold.columns(copy);
    for (std::int64_t r = 0; r < rows; ++r)
      for (const std::size_t column : columns)
        out.push_back(values[static_cast<std::size_t>(r) * cols + column]);
  }
  return out;
}

// Of `stacked`: vectors of rows end where copies do.
WeightShape stacked_shape(WeightShape shape, const Fold& fold) {
  const std::int64_t copies = fold.copies();
  if (copies > 1) {
    const std::vector<std::int64_t> own =
        shape.row_segments.empty() ? std::vector{shape.rows} : shape.row_segments;
    shape.row_segments.clear();
    for (std::int64_t copy = 0; copy < copies; ++copy)
      shape.row_segments.insert(shape.row_segments.end(), own.begin(), own.end());
  }
  shape.rows *= copies;
  shape.cols = fold.size;
  shape.col_segments = fold.segments();
  return shape;
}

}  // namespace

Permutation FoldedOrder::columns() const { return folded.fold.column_order(folded.permutation); }

std::vector<FoldedOrder> find_folded_orders(const Checkpoint& input,
                                            const std::map<std::string, Pattern>& patterns,
                                            const OrderScores& scores, const OrderShape& shape_of,
                                            const OrderOptions& options, int threads) {
  std::vector<FoldedOrder> found;
  std::map<std::string, LinearWeight> weights;
  for (const LinearWeight& weight : input.linear_weights()) weights.emplace(weight.name, weight);
  const std::vector<Fold> folds = find_folds(input);
  Progress progress("ordering");
  for (std::size_t i = 0; i < folds.size(); ++i) {
    const Fold& fold = folds[i];
    progress.update(static_cast<std::int64_t>(i), std::ssize(folds), fold.name);
    const auto pattern = patterns.find(fold.consumer);
    const auto weight = weights.find(fold.consumer);
    if (pattern == patterns.end() || weight == weights.end() || !rows_are_free(fold, patterns) ||
        (options.store && stores_order(pattern->second)) || !groups_fit(fold, pattern->second))
      continue;
    const WeightShape& whole = weight->second.shape;
    if (whole.cols != fold.copies() * fold.size || !whole.col_segments.empty()) continue;
    const auto shape = shape_of(weight->second, stacked_shape(whole, fold), pattern->second);
    if (!shape) continue;
    const WeightData data = input.read(weight->second, threads);
    const std::vector<float> values =
        stacked(scores(weight->second, data.view()), whole.rows, fold);
    input.drop(weight->second);
    ChannelOrder order = find_order(dense_view(values, shape->rows, shape->cols), *shape,
                                    pattern->second, options, threads);
    if (!order.permutation.empty())
      found.push_back({{fold, std::move(order.permutation)}, order.gain});
  }
  return found;
}

std::map<std::string, Permutation> row_orders(const Checkpoint& input,
                                              const std::vector<FoldedOrder>& orders) {
  std::map<std::string, Permutation> rows;
  for (const LinearWeight& weight : input.linear_weights())
    for (const FoldedOrder& order : orders)
      for (const FoldSlice& slice : order.folded.fold.slices) {
        if (slice.tensor != weight.tensor || slice.axis != (weight.transposed ? 1 : 0)) continue;
        Permutation& moved = rows[weight.name];
        if (moved.empty()) moved = identity_permutation(weight.shape.rows);
        const Permutation& channels = order.folded.permutation;
        for (std::size_t i = 0; i < channels.size(); ++i)
          moved[static_cast<std::size_t>(slice.offset) + i] =
              static_cast<std::uint32_t>(slice.offset) + channels[i];
      }
  return rows;
}

FoldedCheckpoint::FoldedCheckpoint(const Checkpoint& input, const std::string& output,
                                   const std::vector<FoldedOrder>& orders,
                                   const WriteOptions& options) {
  const std::filesystem::path path(output);
  const std::string base = (path.has_filename() ? path : path.parent_path()).string();
  for (int i = 0; directory_.empty() || std::filesystem::exists(directory_); ++i)
    directory_ = fmt::format("{}.folded-{}", base, i);
  std::vector<FoldedPermutation> folds;
  for (const FoldedOrder& order : orders) folds.push_back(order.folded);
  written_ = write_folded(input, directory_, folds, options);
  checkpoint_.emplace(Checkpoint::open(directory_));
}

FoldedCheckpoint::~FoldedCheckpoint() {
  checkpoint_.reset();
  std::error_code ignored;
  std::filesystem::remove_all(directory_, ignored);
}

}  // namespace coppice::cli
