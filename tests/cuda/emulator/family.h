// Products of all kernels of a family, through the library's own packing, selection and arguments.
#pragma once

#include <gtest/gtest.h>

#include <initializer_list>
#include <map>
#include <string>
#include <vector>

#include "cuda/gpu.h"

namespace emulated {

/// How often what has been launched so far (cuda/launch.h).
std::map<std::string, int> all_launched();

struct FamilyCase {
  const char* pattern;
  std::int64_t rows, cols, tokens;
  coppice::Dtype dtype = coppice::Dtype::f16;
  bool whole = false;  ///< no permutation and no segments
};

/// Multiplies each with activations in either layout by every kernel of the family that can, with
/// strides, outputs, epilogue, segments and permutation at random. `names`: what has to be launched
/// by all of them, the first or one that begins so by each.
inline void check_family(coppice::cuda::Family family, std::initializer_list<FamilyCase> cases,
                         std::initializer_list<const char*> names, std::uint64_t seed = 1) {
  const std::string first = *names.begin();
  const auto so_far = [&] {
    int count = 0;
    for (const auto& [name, times] : all_launched()) count += name.starts_with(first) ? times : 0;
    return count;
  };
  const std::map<std::string, int> before = all_launched();
  for (const FamilyCase& c : cases)
    for (const auto layout : {coppice::Layout::token_major, coppice::Layout::feature_major}) {
      coppice::cpu::Random random(++seed);
      coppice::cuda::Problem p{.pattern = coppice::Pattern::parse(c.pattern),
                               .rows = c.rows,
                               .cols = c.cols,
                               .tokens = c.tokens,
                               .dtype = c.dtype,
                               .every_kernel_of = family};
      coppice::cuda::choose_operands(p, random);
      p.x_layout = layout;
      if (c.whole) {
        p.permuted = false;
        p.row_segments = p.col_segments = {};
      }
      const int launches = so_far();
      coppice::cuda::check_problem(p, seed);
      EXPECT_GT(so_far(), launches) << p.describe() << ": nothing was multiplied";
    }
  std::map<std::string, int> after = all_launched();
  for (const char* name : names) {
    const auto found = before.find(name);
    EXPECT_GT(after[name], found == before.end() ? 0 : found->second) << name;
  }
}

}  // namespace emulated
