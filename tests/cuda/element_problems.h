// Problems of element-wise, vector-wise and block-wise weights.
#pragma once

#include "cuda/gpu.h"

namespace coppice::cuda {

inline constexpr Dtype kTypes[] = {Dtype::f16, Dtype::bf16, Dtype::f32};

// A few cases are for a sanitizer, under which a launch takes long.
inline bool is_thin() { return case_count(1000) < 1000; }

// So that activations can be copied 16 bytes at a time.
inline void align_x(Problem& p) {
  const std::int64_t together = p.x_layout == Layout::token_major ? p.cols : p.tokens;
  p.x_offset = 0;
  p.x_extra = (together + 7) / 8 * 8 - together;
}

inline Problem random_problem(cpu::Random& random, const Pattern& pattern) {
  Problem p;
  p.pattern = pattern;
  const auto coin = [&] { return cpu::random_int(random, 0, 1) == 1; };
  p.rows = cpu::random_int(random, 1, coin() ? 400 : 60);
  p.cols = cpu::random_int(random, 1, coin() ? 3000 : 300);
  p.tokens = cpu::random_int(random, 1, coin() ? 64 : 9);
  if (cpu::random_int(random, 0, 15) == 0) p.tokens = cpu::random_int(random, 65, 200);
  p.dtype = kTypes[cpu::random_int(random, 0, 2)];
  choose_operands(p, random);
  if (coin()) align_x(p);
  return p;
}

}  // namespace coppice::cuda
