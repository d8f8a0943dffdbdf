// Pruning by Fisher blocks against trying everything, and pairs against all sets.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "coppice/error.h"
#include "coppice/score.h"
#include "coppice/update.h"
#include "prune/legal_masks.h"
#include "prune/mask_reference.h"
#include "prune/second_order/fisher_rows.h"
#include "prune/second_order_reference.h"

namespace coppice {
namespace {

using testing::best_update;
using testing::Matrix;

// Gradients of a layer, and the sums that a statistics file would have.
struct Layer {
  std::int64_t rows, cols;
  std::vector<float> weights;
  FisherStatistics fisher;
  std::vector<Matrix> gradients;  // [rows] of [samples, cols]

  // `correlated`: how much neighbouring gradients have in common, 0 to 1.
  Layer(std::int64_t rows_, std::int64_t cols_, std::int64_t block, std::int64_t samples,
        std::mt19937& random, double correlated = 0.7)
      : rows(rows_), cols(cols_), weights(testing::normal_weights(rows_ * cols_, random)) {
    const std::int64_t per_row = (cols + block - 1) / block;
    fisher = {rows * per_row, block, samples,
              std::vector<double>(static_cast<std::size_t>(rows * per_row * block * block))};
    std::normal_distribution<double> normal;
    for (std::int64_t r = 0; r < rows; ++r) {
      std::vector<double> sizes(static_cast<std::size_t>(cols));
      for (double& size : sizes) size = std::exp(0.7 * normal(random));
      Matrix& g = gradients.emplace_back(samples, cols);
      for (std::int64_t s = 0; s < samples; ++s) {
        double shared = normal(random);
        for (std::int64_t c = 0; c < cols; ++c) {
          shared = correlated * shared + (1 - correlated) * normal(random);
          g(s, c) = shared * sizes[static_cast<std::size_t>(c)];
        }
      }
      for (std::int64_t c = 0; c < cols; ++c)
        for (std::int64_t d = c / block * block; d < std::min(cols, (c / block + 1) * block); ++d)
          for (std::int64_t s = 0; s < samples; ++s) sum(r, c, d) += g(s, c) * g(s, d);
    }
  }

  double& sum(std::int64_t r, std::int64_t c, std::int64_t d) {
    const std::int64_t b = fisher.block, index = r * ((cols + b - 1) / b) + c / b;
    return fisher.sums[static_cast<std::size_t>((index * b + c % b) * b + d % b)];
  }
  double damping(double share) {
    double total = 0;
    for (std::int64_t r = 0; r < rows; ++r)
      for (std::int64_t c = 0; c < cols; ++c) total += sum(r, c, c);
    return share * total / static_cast<double>(fisher.samples * rows * cols);
  }
  // F⁻¹ of a row, [cols, cols].
  Matrix inverse(std::int64_t r, double share) {
    Matrix f(cols, cols);
    for (std::int64_t c = 0; c < cols; ++c)
      for (std::int64_t d = 0; d < cols; ++d)
        if (c / fisher.block == d / fisher.block)
          f(c, d) =
              sum(r, c, d) / static_cast<double>(fisher.samples) + (c == d ? damping(share) : 0);
    return testing::inverse(f);
  }
  std::vector<double> row(std::int64_t r) const {
    return {weights.begin() + r * cols, weights.begin() + (r + 1) * cols};
  }
};

struct Pruned {
  std::vector<float> weights;
  UpdateResult result;
};

Pruned prune(const Layer& layer, const std::string& pattern, const FisherOptions& options = {}) {
  Pruned pruned{layer.weights, {}};
  pruned.result = fisher_prune(pruned.weights, layer.rows, layer.cols, Pattern::parse(pattern),
                               layer.fisher, options);
  return pruned;
}

TEST(Fisher, InverseIsThatOfTheRecursion) {
  std::mt19937 random(1);
  Layer layer(2, 19, 8, 40, random);
  const double damping = layer.damping(1e-3);
  prune::FisherRows rows({layer.fisher, 3, damping}, layer.cols);
  rows.load({0, 2}, 0, 19, layer.weights.data());
  for (std::int64_t r = 0; r < 2; ++r)
    for (std::int64_t begin : {0, 8, 16}) {
      const std::int64_t n = std::min<std::int64_t>(8, 19 - begin);
      Matrix inverse(n, n);
      for (std::int64_t i = 0; i < n; ++i) inverse(i, i) = 1 / damping;
      for (std::int64_t s = 0; s < 40; ++s) {
        std::vector<double> u(static_cast<std::size_t>(n));
        double denominator = 40;
        for (std::int64_t i = 0; i < n; ++i)
          for (std::int64_t j = 0; j < n; ++j)
            u[static_cast<std::size_t>(i)] +=
                inverse(i, j) * layer.gradients[static_cast<std::size_t>(r)](s, begin + j);
        for (std::int64_t i = 0; i < n; ++i)
          denominator += u[static_cast<std::size_t>(i)] *
                         layer.gradients[static_cast<std::size_t>(r)](s, begin + i);
        for (std::int64_t i = 0; i < n; ++i)
          for (std::int64_t j = 0; j < n; ++j)
            inverse(i, j) -=
                u[static_cast<std::size_t>(i)] * u[static_cast<std::size_t>(j)] / denominator;
      }
      for (std::int64_t i = 0; i < n; ++i)
        for (std::int64_t j = 0; j < n; ++j)
          EXPECT_NEAR(rows.inverse(r, begin + i, begin + j), inverse(i, j),
                      1e-9 * std::sqrt(inverse(i, i) * inverse(j, j)));
    }
}

std::vector<std::int64_t> pruned_in(const Mask& mask, std::int64_t r, std::int64_t end) {
  std::vector<std::int64_t> pruned;
  for (std::int64_t c = 0; c < end; ++c)
    if (!mask.get(r, c)) pruned.push_back(c);
  return pruned;
}

// What a vector's mask costs up to a group's end, and the least that any choice in that group does.
std::pair<double, double> costs(Layer& layer, const Grid& grid, const RowVector& vector,
                                const ColumnGroup& group, const Mask& mask, double damping) {
  double chosen = 0, least = std::numeric_limits<double>::infinity();
  std::vector<Matrix> inverses;
  for (std::int64_t r = vector.row; r < vector.row + vector.rows; ++r) {
    inverses.push_back(layer.inverse(r, damping));
    chosen +=
        best_update(layer.row(r), inverses.back(), pruned_in(mask, r, group.col + group.cols)).cost;
  }
  for (const auto& inner : testing::legal_masks(group)) {
    double total = 0;
    for (std::int64_t r = vector.row; r < vector.row + vector.rows; ++r) {
      double cheapest = std::numeric_limits<double>::infinity();
      for (const std::uint64_t kept : inner) {
        std::vector<std::int64_t> pruned = pruned_in(mask, r, group.col);
        for (const std::int64_t c : testing::pruned_columns(kept, group.cols))
          pruned.push_back(group.col + c);
        cheapest = std::min(
            cheapest,
            best_update(layer.row(r), inverses[static_cast<std::size_t>(r - vector.row)], pruned)
                .cost);
      }
      total += cheapest;
    }
    least = std::min(least, total);
  }
  EXPECT_TRUE(testing::fills(mask, grid));
  return {chosen, least};
}

TEST(Fisher, ScoresAreWhatAWeightCostsAlone) {
  std::mt19937 random(9);
  Layer layer(3, 14, 6, 20, random);
  const double damping = layer.damping(0.02);
  std::vector<float> scores(layer.weights.size()), threaded = scores;
  const DenseView view = dense_view(layer.weights, 3, 14);
  score_weights_fisher(view, layer.fisher, 0.02, scores);
  score_weights_fisher(view, layer.fisher, 0.02, threaded, 3);
  EXPECT_EQ(scores, threaded);
  for (std::int64_t r = 0; r < 3; ++r)
    for (std::int64_t c = 0; c < 14; ++c) {
      const std::int64_t first = c / 6 * 6, size = std::min<std::int64_t>(6, 14 - first);
      Matrix block(size, size);
      for (std::int64_t i = 0; i < size; ++i)
        for (std::int64_t j = 0; j < size; ++j)
          block(i, j) = layer.sum(r, first + i, first + j) / 20 + (i == j ? damping : 0);
      const auto i = static_cast<std::size_t>(r * 14 + c);
      const double w = double{layer.weights[i]};
      const double want = w * w / testing::inverse(block)(c - first, c - first);
      EXPECT_NEAR(double{scores[i]}, want, 1e-5 * want) << r << ", " << c;
    }
  FisherStatistics wrong = layer.fisher;
  wrong.block = 7;
  EXPECT_THROW(score_weights_fisher(view, wrong, 0.02, scores), InvalidArgument);
  EXPECT_THROW(score_weights_fisher(view, layer.fisher, -1, scores), InvalidArgument);
}

TEST(Fisher, ExhaustiveChoiceAndUpdateAreThoseOfBruteForce) {
  std::mt19937 random(2);
  std::vector<std::string> patterns = {"vw2/2:4", "vw3/3:8", "bw2x2/1:3", "bw2x3/1:2", "4:2:8",
                                       "3:2:5",   "2:2:7",   "2:3/5:8",   "4:1/3:6"};
  for (int m = 2; m <= 8; ++m)
    for (int n = 1; n < m; ++n) patterns.push_back(std::to_string(n) + ":" + std::to_string(m));
  for (const std::string& text : patterns)
    for (const std::int64_t block : {8, 5, 16, 1}) {
      Layer layer(4, 16, block, 30, random);
      const double damping = 0.01;
      const Pruned pruned =
          prune(layer, text, {.damping = damping, .search = FisherSearch::exhaustive});
      if (pruned.result.magnitude_rows > 0) continue;  // hardly ever
      const Grid grid(Pattern::parse(text), {layer.rows, layer.cols, {}, {}});
      for (const RowVector& vector : grid.vectors())
        for (const ColumnGroup& group : grid.groups()) {
          const auto [chosen, least] =
              costs(layer, grid, vector, group, pruned.result.mask, damping);
          EXPECT_NEAR(chosen, least, 1e-8 * least) << text << " blocks of " << block;
        }
      for (std::int64_t r = 0; r < layer.rows; ++r) {
        const auto best = best_update(layer.row(r), layer.inverse(r, damping),
                                      pruned_in(pruned.result.mask, r, layer.cols));
        for (std::int64_t c = 0; c < layer.cols; ++c)
          EXPECT_NEAR(pruned.weights[static_cast<std::size_t>(r * layer.cols + c)],
                      best.weights[static_cast<std::size_t>(c)], 1e-4)
              << text;
      }
    }
}

TEST(Fisher, PairsComeCloseToAllSets) {
  std::mt19937 random(3);
  std::vector<double> ratios;
  for (const char* text : {"1:4", "2:4", "3:4", "1:5", "2:8", "4:8", "5:8", "2:10", "4:2:8",
                           "16:2:8", "8:2:7", "vw4/2:8", "bw2x2/1:4", "8:2:12"})
    for (const double correlated : {0.0, 0.5, 0.8, 0.95})
      for (const std::int64_t samples : {9, 20, 200})
        for (int round = 0; round < 3; ++round) {
          const Grid grid(Pattern::parse(text), {16, 16, {}, {}});
          const std::int64_t group = grid.groups()[0].cols;
          Layer layer(16, group, 16, samples, random, correlated);
          const Grid own(Pattern::parse(text), {16, group, {}, {}});
          const Pruned all = prune(layer, text, {.search = FisherSearch::exhaustive});
          const Pruned pairs = prune(layer, text, {.search = FisherSearch::pairwise});
          for (const RowVector& vector : own.vectors()) {
            double cost[2] = {0, 0};
            for (std::int64_t r = vector.row; r < vector.row + vector.rows; ++r)
              for (int i : {0, 1})
                cost[i] += best_update(layer.row(r), layer.inverse(r, 0.01),
                                       pruned_in((i == 0 ? all : pairs).result.mask, r, group))
                               .cost;
            ratios.push_back(cost[1] / cost[0]);
          }
        }
  std::ranges::sort(ratios);
  const double median = ratios[ratios.size() / 2], worst = ratios.back();
  RecordProperty("median", std::to_string(median));
  RecordProperty("worst", std::to_string(worst));
  EXPECT_LE(median, 1.05);
  EXPECT_LE(worst, 1.25);
}

TEST(Fisher, EveryPatternShapeAndThreadCount) {
  std::mt19937 random(4);
  for (const char* text :
       {"2:4", "3:32", "8:32", "vw4/2:4", "vw32/8:32", "bw2x2/1:3", "bw16x80/1:2", "16:2:8",
        "8:2:5", "4:3/6:8", "16:2:32", "4:8/16:32", "dense"})
    for (const auto& [rows, cols] : {std::pair{37, 73}, std::pair{1, 1}, std::pair{5, 16}})
      for (const std::int64_t block : {7, 16}) {
        const Layer layer(rows, cols, block, 12, random);
        FisherOptions options{.row_segments = testing::random_segments(rows, random),
                              .col_segments = testing::random_segments(cols, random)};
        const Grid grid(Pattern::parse(text),
                        {rows, cols, options.row_segments, options.col_segments});
        const std::string what = std::string(text) + " " + std::to_string(cols);
        const Pruned one = prune(layer, text, options);
        EXPECT_TRUE(testing::fills(one.result.mask, grid)) << what;
        EXPECT_LE(one.result.error, one.result.magnitude_error * (1 + 1e-9)) << what;
        for (std::int64_t i = 0; i < rows * cols; ++i) {
          const float weight = one.weights[static_cast<std::size_t>(i)];
          ASSERT_TRUE(std::isfinite(weight)) << what;
          if (!one.result.mask.get(i / cols, i % cols)) {
            ASSERT_EQ(std::bit_cast<std::uint32_t>(weight), 0u) << what;
          }
        }
        options.threads = 3;
        const Pruned three = prune(layer, text, options);
        EXPECT_EQ(one.result.mask, three.result.mask) << what;
        EXPECT_EQ(std::memcmp(one.weights.data(), three.weights.data(), one.weights.size() * 4), 0)
            << what;
        EXPECT_EQ(one.result.error, three.result.error) << what;
      }
}

TEST(Fisher, BeatsMagnitudeOnCorrelatedGradients) {
  std::mt19937 random(5);
  const Layer layer(32, 128, 16, 200, random, 0.8);
  for (const char* text : {"2:4", "4:8", "vw16/2:4", "bw4x4/2:4", "16:2:8", "16:2:16"}) {
    const UpdateResult result = prune(layer, text).result;
    EXPECT_LT(result.error, 0.8 * result.magnitude_error) << text;
    EXPECT_LT(result.error, 0.9 * result.uncompensated_error) << text;
    EXPECT_EQ(result.note, "") << text;
  }
}

TEST(Fisher, HardStatistics) {
  std::mt19937 random(6);
  for (const char* text : {"2:4", "16:2:8", "8:32"}) {
    Layer zero(16, 64, 16, 5, random);
    std::ranges::fill(zero.fisher.sums, 0.0);
    const Pruned pruned = prune(zero, text);
    EXPECT_THAT(pruned.result.note, ::testing::HasSubstr("all gradients are zero"));
    EXPECT_EQ(pruned.result.mask,
              magnitude_mask(dense_view(zero.weights, 16, 64), Pattern::parse(text)).mask);

    for (const double scale : {1e-40, 1e40}) {  // one sample, and no damping: singular blocks
      Layer singular(16, 64, 16, 1, random);
      for (double& sum : singular.fisher.sums) sum *= scale;
      const Pruned raised = prune(singular, text, {.damping = 0});
      EXPECT_THAT(raised.result.note, ::testing::HasSubstr("damping raised in 64 of 64 Fisher"));
      for (const float weight : raised.weights) ASSERT_TRUE(std::isfinite(weight));
      EXPECT_LE(raised.result.error, raised.result.magnitude_error * (1 + 1e-9) + 1e-9);
    }
  }
}

TEST(Fisher, BadInput) {
  std::mt19937 random(7);
  const Layer layer(4, 20, 8, 5, random);
  const auto refused = [&](const char* why, auto change, FisherOptions options = {}) {
    FisherStatistics fisher = layer.fisher;
    std::vector<float> weights = layer.weights;
    std::string pattern = "2:4";
    change(fisher, weights, pattern);
    try {
      fisher_prune(weights, 4, 20, Pattern::parse(pattern), fisher, options);
      ADD_FAILURE() << why;
    } catch (const InvalidArgument& error) {
      EXPECT_THAT(error.what(), ::testing::HasSubstr(why));
    }
  };
  refused("do not fit", [](auto& fisher, auto&, auto&) { fisher.blocks = 11; });
  refused("do not fit", [](auto& fisher, auto&, auto&) { fisher.sums.pop_back(); });
  refused("1 or more", [](auto& fisher, auto&, auto&) { fisher.samples = 0; });
  refused("has nan", [](auto& fisher, auto&, auto&) { fisher.sums[9] = std::nan(""); });
  refused("has 1e+200", [](auto& fisher, auto&, auto&) { fisher.sums[9] = 1e200; });
  refused("finite", [](auto&, auto& weights, auto&) { weights[3] = std::nanf(""); });
  refused("weights", [](auto&, auto& weights, auto&) { weights.pop_back(); });
  refused("damping", [](auto&, auto&, auto&) {}, {.damping = -1});
  refused("choose by pairs", [](auto&, auto&, auto& pattern) { pattern = "8:20"; },
          {.search = FisherSearch::exhaustive});
}

}  // namespace
}  // namespace coppice
