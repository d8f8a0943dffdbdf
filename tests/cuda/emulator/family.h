// Products of all kernels of a family, through the library's own packing, selection and arguments.
#pragma once

#include <gtest/gtest.h>

#include <initializer_list>
#include <map>
#include <string>

#include "cuda/gpu.h"

namespace emulated {

/// How often what has been launched so far (cuda/launch.h).
int launched(const std::string& name);

struct FamilyCase {
  const char* pattern;
  std::int64_t rows, cols, tokens;
  coppice::Dtype dtype = coppice::Dtype::f16;
};

/// Multiplies each by every kernel of the family that can, with layouts, strides, epilogue and
/// permutation at random. `names`: what has to be launched by that.
inline void check_family(coppice::cuda::Family family, std::initializer_list<FamilyCase> cases,
                         std::initializer_list<const char*> names, std::uint64_t seed = 1) {
  std::map<std::string, int> before;
  for (const char* name : names) before[name] = launched(name);
  for (const FamilyCase& c : cases) {
    coppice::cpu::Random random(++seed);
    coppice::cuda::Problem p{.pattern = coppice::Pattern::parse(c.pattern),
                             .rows = c.rows,
                             .cols = c.cols,
                             .tokens = c.tokens,
                             .dtype = c.dtype,
                             .every_kernel_of = family};
    coppice::cuda::choose_operands(p, random);
    coppice::cuda::check_problem(p, seed);
  }
  for (const char* name : names) EXPECT_GT(launched(name), before[name]) << name;
}

}  // namespace emulated
