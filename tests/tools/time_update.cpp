// Errors and processor time of pruning with compensation on one random layer with correlated
// inputs.
//
//   time_update ROWS COLS PATTERN [saliency|joint|automatic|admm] [THREADS] [cpu|cuda] [PENALTY]
//
// On a GPU the second of two runs is timed. ADMM takes the more iterations the smaller the penalty
// is that it starts from.
#include <fmt/format.h>

#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <memory>
#include <random>
#include <string_view>

#include "coppice/error.h"
#include "coppice/update.h"
#if COPPICE_HAS_CUDA
#include "coppice/cuda_update.h"
#endif

namespace {

// Each input is a source shared with its neighbours and noise of its own; channels differ in size.
// The expected Gram matrix, so that no samples need to be summed.
std::vector<double> neighbour_gram(std::int64_t cols, std::mt19937& random) {
  std::normal_distribution<double> normal;
  std::vector<double> size(static_cast<std::size_t>(cols)), gram(size.size() * size.size());
  for (double& value : size) value = std::exp(0.5 * normal(random));
  for (std::size_t i = 0; i < size.size(); ++i)
    for (std::size_t j = 0; j < size.size(); ++j) {
      const double distance = i > j ? static_cast<double>(i - j) : static_cast<double>(j - i);
      gram[i * size.size() + j] =
          size[i] * size[j] * (std::pow(0.9, distance) + (i == j ? 0.1 : 0.0));
    }
  return gram;
}

coppice::GroupChoice choice_of(std::string_view name) {
  if (name == "saliency") return coppice::GroupChoice::saliency;
  if (name == "joint") return coppice::GroupChoice::joint;
  if (name == "automatic") return coppice::GroupChoice::automatic;
  throw coppice::InvalidArgument(
      fmt::format("choice '{}': saliency, joint, automatic or admm", name));
}

std::unique_ptr<coppice::UpdateEngine> engine_of(std::string_view device) {
  if (device == "cpu") return nullptr;
#if COPPICE_HAS_CUDA
  if (device == "cuda") return coppice::cuda::make_update_engine();
#endif
  throw coppice::InvalidArgument(fmt::format("device '{}': this program has no such one", device));
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc < 4) {
    fmt::print(stderr,
               "time_update ROWS COLS PATTERN [saliency|joint|automatic|admm] [THREADS] "
               "[cpu|cuda] [PENALTY]\n");
    return 2;
  }
  const std::int64_t rows = std::atoll(argv[1]), cols = std::atoll(argv[2]);
  const coppice::Pattern pattern = coppice::Pattern::parse(argv[3]);
  const std::string_view method = argc > 4 ? argv[4] : "automatic";
  const int threads = argc > 5 ? std::atoi(argv[5]) : 1;

  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  std::vector<float> weights(static_cast<std::size_t>(rows * cols));
  for (float& weight : weights) weight = normal(random);
  const std::vector<double> gram = neighbour_gram(cols, random);

  const auto engine = engine_of(argc > 6 ? argv[6] : "cpu");
  coppice::AdmmOptions admm{.threads = threads, .engine = engine.get()};
  if (argc > 7) admm.penalty = std::atof(argv[7]);
  const auto run = [&](std::vector<float>& pruned) {
    return method == "admm"
               ? coppice::admm_prune(pruned, rows, cols, pattern, gram, admm)
               : coppice::obs_prune(
                     pruned, rows, cols, pattern, gram,
                     {.choice = choice_of(method), .threads = threads, .engine = engine.get()});
  };
  if (engine != nullptr) {
    std::vector<float> warm = weights;
    run(warm);
  }
  const std::clock_t processor = std::clock();
  const auto start = std::chrono::steady_clock::now();
  const coppice::UpdateResult result = run(weights);
  const std::chrono::duration<double> wall = std::chrono::steady_clock::now() - start;
  fmt::print(
      "{} {}x{}: error {:.5f}, uncompensated {:.4f}, magnitude {:.4f}; {:.1f} s of processors, "
      "{:.2f} s; {} iterations, {} rows by ADMM; {}\n",
      pattern.to_string(), rows, cols, result.error, result.uncompensated_error,
      result.magnitude_error, static_cast<double>(std::clock() - processor) / CLOCKS_PER_SEC,
      wall.count(), result.iterations, result.admm_rows, result.note);
  return 0;
} catch (const std::exception& error) {
  fmt::print(stderr, "time_update: {}\n", error.what());
  return 1;
}
