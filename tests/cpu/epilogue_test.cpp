// Activations of the epilogue against double precision.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numbers>

#include "coppice/linear.h"
#include "cpu/random_weight.h"
#include "cpu/targets.h"

namespace coppice::cpu {
namespace {

constexpr Activation kActivations[] = {Activation::none, Activation::relu, Activation::gelu,
                                       Activation::gelu_tanh, Activation::silu};

// y = act(v) for many v at once: a weight of one column of ones, and the v as bias.
struct Activated {
  std::vector<float> fast;
  std::vector<double> exact;

  Activated(const std::vector<float>& inputs, Activation activation) {
    const auto rows = std::ssize(inputs);
    SparseMatrix weight;
    weight.grid =
        std::make_shared<const Grid>(Pattern::parse("dense"), WeightShape{rows, 0, {}, {}});
    fast.resize(inputs.size());
    exact.resize(inputs.size());
    const Epilogue epilogue{.bias = inputs, .activation = activation};
    multiply(PackedWeight(weight.view()), {nullptr, 1, 0}, {fast.data(), 1, rows}, epilogue);
    reference_multiply(weight.view(), {nullptr, 1, 0}, {exact.data(), 1, rows}, epilogue);
  }
};

// In the far negative tail the rounding of the exponent shows.
double relative_bound(Activation activation, double v) {
  constexpr double kBound = 1e-6, kPerExponent = 1.7e-7;
  if (v > -3) return kBound;
  if (activation == Activation::gelu) return kBound + kPerExponent * v * v / 2;
  if (activation != Activation::gelu_tanh) return kBound;
  return kBound - kPerExponent * 2 * std::sqrt(2 / std::numbers::pi) * (v + 0.044715 * v * v * v);
}

TEST(Epilogue, IsAccurate) {
  std::vector<float> inputs;
  for (int i = -200000; i <= 200000; ++i) inputs.push_back(static_cast<float>(i) * 1e-4f);
  for (int e = -120; e < 100; ++e)
    for (float v : {1.0f, 1.37f, -1.0f, -1.81f}) inputs.push_back(std::ldexp(v, e));
  for_each_target([&] {
    for (Activation activation : kActivations) {
      const Activated result(inputs, activation);
      double worst = 0;
      for (std::size_t i = 0; i < inputs.size(); ++i) {
        const double exact = result.exact[i], v = inputs[i];
        if (std::abs(exact) < 1e-30) {
          ASSERT_NEAR(result.fast[i], exact, 1e-30) << v;
          continue;
        }
        const double bound = relative_bound(activation, v);
        const double error = std::abs(result.fast[i] - exact) / std::abs(exact);
        worst = std::max(worst, error / bound);
        ASSERT_LE(error, bound) << v << " activation " << static_cast<int>(activation);
      }
      RecordProperty("worst_of_bound_" + std::to_string(static_cast<int>(activation)),
                     std::to_string(worst));
    }
  });
}

TEST(Epilogue, TreatsNonFiniteValuesLikeTheReference) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  const std::vector<float> inputs = {
      std::numeric_limits<float>::quiet_NaN(), kInfinity, -kInfinity, 3e38f, -3e38f, 1e20f, -1e20f};
  for_each_target([&] {
    for (Activation activation : kActivations) {
      const Activated result(inputs, activation);
      for (std::size_t i = 0; i < inputs.size(); ++i) {
        SCOPED_TRACE(testing::Message()
                     << inputs[i] << " activation " << static_cast<int>(activation));
        EXPECT_EQ(std::isnan(result.fast[i]), std::isnan(result.exact[i]));
        if (!std::isnan(result.exact[i])) {
          EXPECT_FLOAT_EQ(result.fast[i], static_cast<float>(result.exact[i]));
        }
      }
    }
  });
}

}  // namespace
}  // namespace coppice::cpu
