#include "bench/random_weight.h"

#include <algorithm>
#include <numeric>
#include <random>
#include <vector>

#include "format/choice_set.h"

namespace coppice::bench {
namespace {

// Draws `kept` of `of` things, ascending.
class RandomChoice {
 public:
  explicit RandomChoice(std::uint64_t seed) : random_(seed) {}

  ChoiceSet draw(int kept, int of) {
    chosen_.clear();
    // Selection sampling: every subset is equally likely, and the result is ascending.
    for (int thing = 0, left = kept; left > 0; ++thing) {
      if (random_() % static_cast<std::uint64_t>(of - thing) < static_cast<std::uint64_t>(left)) {
        chosen_.push_back(thing);
        --left;
      }
    }
    return ChoiceSet::of(of, chosen_);
  }

 private:
  std::mt19937_64 random_;
  std::vector<int> chosen_;
};

}  // namespace

void fill_normal(std::span<float> out, std::uint64_t seed) {
  constexpr std::size_t kTable = 65536;
  static const std::vector<float> table = [] {
    std::vector<float> numbers(kTable);
    std::mt19937 random(20260101);
    std::normal_distribution<float> normal;
    std::ranges::generate(numbers, [&] { return normal(random); });
    return numbers;
  }();
  std::mt19937_64 random(seed);
  for (std::size_t i = 0; i < out.size();) {
    const std::size_t run = std::min<std::size_t>(256, out.size() - i);
    const std::size_t from = random() % (kTable - run);
    std::copy_n(table.begin() + static_cast<std::ptrdiff_t>(from), run,
                out.begin() + static_cast<std::ptrdiff_t>(i));
    i += run;
  }
}

SparseMatrix random_weight(const Pattern& pattern, std::int64_t rows, std::int64_t cols,
                           Dtype dtype, std::uint64_t seed) {
  SparseMatrix weight;
  WeightShape shape;
  shape.rows = rows;
  shape.cols = cols;
  weight.grid = std::make_shared<const Grid>(pattern, shape);
  weight.dtype = dtype;
  const Grid& grid = *weight.grid;

  std::vector<float> values(static_cast<std::size_t>(grid.kept() * rows));
  fill_normal(values, seed);
  weight.values.resize(static_cast<std::size_t>(grid.values_bytes(dtype)));
  from_float(dtype, values, weight.values.data());

  RandomChoice choice(seed + 1);
  weight.columns.resize(static_cast<std::size_t>(grid.columns_bytes()));
  weight.metadata.resize(static_cast<std::size_t>(grid.metadata_bytes()));
  if (grid.has_columns()) {
    for (std::int64_t v = 0; v < std::ssize(grid.vectors()); ++v) {
      BitWriter writer(weight.columns.data() + v * grid.column_bytes_per_vector());
      for (const ColumnGroup& group : grid.groups())
        choice.draw(group.kept_blocks, group.blocks).write(writer, grid.column_code());
      writer.finish();
    }
  }
  if (grid.has_metadata()) {
    for (std::int64_t r = 0; r < rows; ++r) {
      BitWriter writer(weight.metadata.data() + r * grid.metadata_bytes_per_row());
      for (const ColumnGroup& group : grid.groups())
        choice.draw(group.kept, group.kept_cols).write(writer, grid.metadata_code());
      writer.finish();
    }
  }
  return weight;
}

}  // namespace coppice::bench
