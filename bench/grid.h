// Named grids of benchmark cases: every shape of a set x sparsity x kind of pattern x dtype.
//
// nmsparse: what nmSPARSE (MLSys 2023) was measured on: its shapes M1 to M32, 50, 75 and 90 %,
// element-wise (EW), vectors of 4, 32 and 64 rows (VW) and blocks of 4 x 4 and 64 x 64 (BW).
#pragma once

#include <array>
#include <span>
#include <string_view>
#include <vector>

#include "bench/bench.h"
#include "bench/shapes.h"

namespace coppice::bench {

inline constexpr std::string_view kNmsparse = "nmsparse";
inline constexpr std::array<int, 3> kGridSparsities = {50, 75, 90};
inline constexpr std::array<const char*, 6> kGridKinds = {"EW",   "VW4",   "VW32",
                                                          "VW64", "BW4x4", "BW64x64"};

/// The shapes of bench/shapes.csv whose set has this name, as they were when this was built.
std::vector<Shape> built_in_shapes(std::string_view set);

/// The pattern of a kind at a sparsity: 16, 8 or 3 of 32; of 16, 8 or 4 (as near as can be) where
/// groups of more blocks would not be full: a group that is short keeps as many as a full one.
Pattern grid_pattern(std::string_view kind, int sparsity, std::int64_t cols);

/// Feature-major cases, weight after weight: all numbers of tokens of a weight, then the other
/// kinds of the same sparsity, sparsities, dtypes, and (cols, rows) in the order of `shapes`.
std::vector<BenchCase> nmsparse_grid(std::span<const Shape> shapes, std::span<const Dtype> dtypes);

}  // namespace coppice::bench
