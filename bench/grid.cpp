#include "bench/grid.h"

#include <fmt/format.h>

#include <algorithm>

#include "bench/built_in_shapes.h"
#include "coppice/error.h"

namespace coppice::bench {
namespace {

constexpr int kGroup = 32, kLeastGroup = 4;

struct Kind {
  const char *name, *spelling;
  int block_cols;
};
constexpr std::array<Kind, 6> kKinds = {{{kGridKinds[0], "", 1},
                                         {kGridKinds[1], "vw4/", 1},
                                         {kGridKinds[2], "vw32/", 1},
                                         {kGridKinds[3], "vw64/", 1},
                                         {kGridKinds[4], "bw4x4/", 4},
                                         {kGridKinds[5], "bw64x64/", 64}}};

// Kept of a full group.
int kept_of_group(int sparsity) {
  switch (sparsity) {
    case 50:
      return 16;
    case 75:
      return 8;
    case 90:
      return 3;
    default:
      throw InvalidArgument(fmt::format("a grid has no sparsity of {} %", sparsity));
  }
}

// Shapes that share a weight, in the order of their first.
std::vector<std::vector<Shape>> by_weight(std::span<const Shape> shapes) {
  std::vector<std::vector<Shape>> all;
  for (const Shape& shape : shapes) {
    const auto same = std::ranges::find_if(all, [&](const auto& group) {
      return group[0].rows == shape.rows && group[0].cols == shape.cols;
    });
    if (same == all.end())
      all.push_back({shape});
    else
      same->push_back(shape);
  }
  return all;
}

}  // namespace

std::vector<Shape> built_in_shapes(std::string_view set) {
  std::vector<Shape> shapes = parse_shapes(kBuiltInShapes);
  std::erase_if(shapes, [&](const Shape& shape) { return shape.set != set; });
  return shapes;
}

Pattern grid_pattern(std::string_view name, int sparsity, std::int64_t cols) {
  const auto kind = std::ranges::find_if(kKinds, [&](const Kind& k) { return name == k.name; });
  if (kind == kKinds.end()) throw InvalidArgument(fmt::format("a grid has no kind '{}'", name));
  int group = kGroup;
  while (group > kLeastGroup && cols / kind->block_cols % group != 0) group /= 2;
  if (cols / kind->block_cols % group != 0) group = kGroup;
  // Rounded; up from a half.
  const int kept = std::max(1, (2 * kept_of_group(sparsity) * group + kGroup) / (2 * kGroup));
  return Pattern::parse(fmt::format("{}{}:{}", kind->spelling, kept, group));
}

std::vector<BenchCase> nmsparse_grid(std::span<const Shape> shapes, std::span<const Dtype> dtypes) {
  std::vector<BenchCase> cases;
  for (const std::vector<Shape>& group : by_weight(shapes))
    for (const Dtype dtype : dtypes)
      for (const int sparsity : kGridSparsities)
        for (const char* kind : kGridKinds) {
          const Pattern pattern = grid_pattern(kind, sparsity, group[0].cols);
          for (const Shape& shape : group)
            cases.push_back({.pattern = pattern,
                             .rows = shape.rows,
                             .cols = shape.cols,
                             .tokens = shape.tokens,
                             .dtype = dtype,
                             .layout = Layout::feature_major,
                             .set = shape.set,
                             .name = shape.name,
                             .kind = kind,
                             .sparsity = sparsity});
        }
  return cases;
}

}  // namespace coppice::bench
