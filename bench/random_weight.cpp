#include "bench/random_weight.h"

#include <algorithm>
#include <functional>
#include <random>
#include <vector>

#include "core/parallel_for.h"
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

constexpr std::uint64_t kStride = 0x9E3779B97F4A7C15;  // between seeds

// Calls body(first, end) for pieces of [0, count), which do not depend on the number of threads.
void in_chunks(std::int64_t count, const std::function<void(std::int64_t, std::int64_t)>& body) {
  constexpr std::int64_t kChunk = 64;
  parallel_for((count + kChunk - 1) / kChunk, available_threads(), [&](std::int64_t chunk) {
    body(chunk * kChunk, std::min(count, (chunk + 1) * kChunk));
  });
}

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
                           Dtype dtype, std::uint64_t seed, std::vector<std::byte> values) {
  SparseMatrix weight;
  WeightShape shape;
  shape.rows = rows;
  shape.cols = cols;
  weight.grid = std::make_shared<const Grid>(pattern, shape);
  weight.dtype = dtype;
  const Grid& grid = *weight.grid;
  const bool given = std::ssize(values) == grid.values_bytes(dtype);
  weight.values = std::move(values);
  weight.values.resize(static_cast<std::size_t>(grid.values_bytes(dtype)));
  weight.columns.resize(static_cast<std::size_t>(grid.columns_bytes()));
  weight.metadata.resize(static_cast<std::size_t>(grid.metadata_bytes()));

  const std::int64_t row_values = rows > 0 ? grid.values_bytes(dtype) / rows : 0;
  in_chunks(rows, [&](std::int64_t first, std::int64_t end) {
    RandomChoice choice(3 * (seed + 1) + static_cast<std::uint64_t>(first) * kStride);
    std::vector<float> floats(given ? 0 : static_cast<std::size_t>(grid.kept()));
    for (std::int64_t r = first; r < end; ++r) {
      if (!given) {
        fill_normal(floats, seed + static_cast<std::uint64_t>(r) * kStride);
        from_float(dtype, floats, weight.values.data() + r * row_values);
      }
      if (!grid.has_metadata()) continue;
      BitWriter writer(weight.metadata.data() + r * grid.metadata_bytes_per_row());
      for (const ColumnGroup& group : grid.groups())
        choice.draw(group.kept, group.kept_cols).write(writer, grid.metadata_code());
      writer.finish();
    }
  });
  if (!grid.has_columns()) return weight;
  in_chunks(std::ssize(grid.vectors()), [&](std::int64_t first, std::int64_t end) {
    RandomChoice choice(3 * (seed + 1) + 1 + static_cast<std::uint64_t>(first) * kStride);
    for (std::int64_t v = first; v < end; ++v) {
      BitWriter writer(weight.columns.data() + v * grid.column_bytes_per_vector());
      for (const ColumnGroup& group : grid.groups())
        choice.draw(group.kept_blocks, group.blocks).write(writer, grid.column_code());
      writer.finish();
    }
  });
  return weight;
}

}  // namespace coppice::bench
