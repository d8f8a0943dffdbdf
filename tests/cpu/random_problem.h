// Random products: weight, activations in guarded memory, epilogue; and the check of a result.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "coppice/linear.h"
#include "cpu/random_weight.h"

namespace coppice::cpu {

/// Activations with room around them: gaps between rows and a zone on both sides, all NaN. A kernel
/// that reads there spoils its result, one that writes there is found out.
struct GuardedActivations {
  static constexpr std::int64_t kZone = 64;
  std::vector<float> memory;
  std::vector<bool> owned;  // by the matrix; the rest is guard
  MutableActivations view;

  GuardedActivations(Random& random, std::int64_t tokens, std::int64_t features) {
    const bool token_major = random_int(random, 0, 1) == 0;
    const std::int64_t majors = token_major ? tokens : features;
    const std::int64_t minors = token_major ? features : tokens;
    const std::int64_t gap = random_int(random, 0, 2) == 0 ? random_int(random, 1, 20) : 0;
    const std::int64_t offset = kZone + random_int(random, 0, 3);  // misaligned too
    memory.assign(static_cast<std::size_t>(majors * (minors + gap) + 2 * kZone + 3),
                  std::numeric_limits<float>::quiet_NaN());
    owned.assign(memory.size(), false);
    view = {memory.data() + offset, tokens, features,
            token_major ? Layout::token_major : Layout::feature_major, gap == 0 ? 0 : minors + gap};
    for (std::int64_t t = 0; t < tokens; ++t)
      for (std::int64_t f = 0; f < features; ++f)
        owned[static_cast<std::size_t>(&view.at(t, f) - memory.data())] = true;
  }

  void fill(Random& random) {
    std::normal_distribution<float> normal;
    for (std::size_t i = 0; i < memory.size(); ++i)
      if (owned[i]) memory[i] = normal(random);
  }
  bool guards_untouched() const {
    for (std::size_t i = 0; i < memory.size(); ++i)
      if (!owned[i] && !std::isnan(memory[i])) return false;
    return true;
  }
  Activations input() const {
    return {view.data, view.tokens, view.features, view.layout, view.stride};
  }
};

struct RandomEpilogue {
  std::vector<float> bias;
  Epilogue epilogue;

  RandomEpilogue(Random& random, std::int64_t rows) {
    constexpr Activation kActivations[] = {Activation::none,      Activation::none,
                                           Activation::relu,      Activation::gelu,
                                           Activation::gelu_tanh, Activation::silu};
    if (random_int(random, 0, 1))
      epilogue.alpha = 0.5f * static_cast<float>(random_int(random, -4, 4));
    if (random_int(random, 0, 1)) bias = random_floats(random, rows);
    epilogue.bias = bias;
    epilogue.activation = kActivations[random_int(random, 0, 5)];
  }
};

/// A product of a random weight.
struct Problem {
  Pattern pattern;
  std::int64_t rows = 0, cols = 0, tokens = 0;
  Dtype dtype = Dtype::f32;
  RandomWeightOptions options{};
};

inline std::string describe(const Problem& p) {
  return p.pattern.to_string() + " " + std::to_string(p.rows) + "x" + std::to_string(p.cols) + " " +
         std::string(dtype_name(p.dtype)) + ", " + std::to_string(p.tokens) + " tokens" +
         (p.options.permuted ? ", permuted" : "");
}

/// Checks y against the reference. What fp32 explains: a sum of n products in any order is off by
/// at most (n + 2) * 2^-24 * sum |w x|; scale, bias and activation (slopes below 1.13) add some
/// ulps of what they handle.
/// @param rounding  of y itself, relative, if it was of fewer bits than fp32
inline void expect_matches_reference(const SparseMatrix& weight, const Activations& x,
                                     const MutableActivations& y, const Epilogue& epilogue,
                                     double rounding = 0) {
  const auto size = static_cast<std::size_t>(y.tokens * y.features);
  std::vector<double> expected(size, std::numeric_limits<double>::quiet_NaN()), magnitude(size);
  reference_multiply(weight.view(), x, {expected.data(), y.tokens, y.features}, epilogue);

  SparseMatrix absolute = weight;  // |W| |x|: the scale of rounding errors
  std::vector<float> values(static_cast<std::size_t>(weight.rows() * weight.grid->kept()));
  to_float(weight.dtype, weight.values.data(), values);
  for (float& v : values) v = std::abs(v);
  from_float(weight.dtype, values, absolute.values.data());
  std::vector<float> abs_x(static_cast<std::size_t>(x.tokens * x.features));
  for (std::int64_t t = 0; t < x.tokens; ++t)
    for (std::int64_t c = 0; c < x.features; ++c)
      abs_x[static_cast<std::size_t>(t * x.features + c)] = std::abs(x.at(t, c));
  reference_multiply(absolute.view(), {abs_x.data(), x.tokens, x.features},
                     {magnitude.data(), y.tokens, y.features});

  constexpr double kEpsilon = 0x1p-24;
  const auto terms = static_cast<double>(weight.grid->kept());
  for (std::int64_t t = 0; t < y.tokens; ++t) {
    for (std::int64_t r = 0; r < y.features; ++r) {
      const auto at = static_cast<std::size_t>(t * y.features + r);
      const double bias = epilogue.bias.empty() ? 0 : epilogue.bias[static_cast<std::size_t>(r)];
      const double handled = std::abs(epilogue.alpha) * magnitude[at] + std::abs(bias);
      const double bound = 1.2 * kEpsilon * ((terms + 2) * handled + 32 * std::abs(expected[at])) +
                           rounding * std::abs(expected[at]) + std::numeric_limits<float>::min();
      ASSERT_NEAR(y.at(t, r), expected[at], bound) << "token " << t << " row " << r;
    }
  }
}

}  // namespace coppice::cpu
