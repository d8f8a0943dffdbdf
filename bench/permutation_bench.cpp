// Times the search for channel permutations, and says what it gains.
//
//   permutation_bench [--threads T] [--shape ROWSxCOLS] [--side input|output|both]
//                     [--assignment K,K...] [--limit SECONDS] [pattern...]
//
// On random weights whose columns and rows differ in size, log-normally, and mix over a few hidden
// kinds, so that there is something to gain. Prints, per pattern and size of assignment: the share
// of the score kept without and with the permutation, passes and seconds.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cmath>
#include <cstdio>
#include <exception>
#include <random>
#include <string>
#include <vector>

#include "coppice/error.h"
#include "coppice/permutation_search.h"

namespace {

struct Options {
  std::string shape = "1024x1024", side = "input";
  std::vector<std::int64_t> assignments = {0};
  std::vector<std::string> patterns = {"2:4", "64:2:8", "vw32/8:32"};
  coppice::PermutationOptions search;
};

std::vector<float> lognormal(std::int64_t count, float sigma, std::mt19937& random) {
  std::lognormal_distribution<float> draw(0, sigma);
  std::vector<float> values(static_cast<std::size_t>(count));
  for (float& value : values) value = draw(random);
  return values;
}

// normal * size of the column * size that columns have in rows of this kind
std::vector<float> random_scores(std::int64_t rows, std::int64_t cols) {
  constexpr std::size_t kKinds = 8;
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  const std::vector<float> sizes = lognormal(cols, 0.5f, random);
  const std::vector<float> kinds =
      lognormal(cols * static_cast<std::int64_t>(kKinds), 0.5f, random);
  std::vector<float> scores(static_cast<std::size_t>(rows * cols));
  for (std::size_t i = 0; i < scores.size(); ++i) {
    const std::size_t row = i / sizes.size(), col = i % sizes.size();
    scores[i] = normal(random) * sizes[col] * kinds[(row * 5 % kKinds) * sizes.size() + col];
  }
  return scores;
}

void run(const Options& options) {
  long long rows = 0, cols = 0;
  if (std::sscanf(options.shape.c_str(), "%lldx%lld", &rows, &cols) != 2 || rows < 1 || cols < 1)
    throw coppice::InvalidArgument("--shape is '" + options.shape +
                                   "', needs ROWSxCOLS such as 4096x4096");
  const std::vector<float> scores = random_scores(rows, cols);
  const coppice::DenseView view = coppice::dense_view(scores, rows, cols);
  fmt::print("{:12} {:>10} {:>9} {:>9} {:>8} {:>7} {:>9}\n", "pattern", "assignment", "identity",
             "permuted", "seconds", "passes", "converged");
  for (const std::string& text : options.patterns) {
    for (std::int64_t size : options.assignments) {
      const coppice::Pattern pattern = coppice::Pattern::parse(text);
      coppice::PermutationOptions search = options.search;
      search.assignment_size = size;
      coppice::PermutationResult found;
      if (options.side == "both") {
        const auto both = coppice::alternate_permutations(view, pattern, search);
        found = {{}, both.total_score, both.identity_score, both.kept_score,
                 0,  both.seconds,     both.converged};
      } else {
        found = options.side == "input" ? coppice::find_input_permutation(view, pattern, search)
                                        : coppice::find_output_permutation(view, pattern, search);
      }
      fmt::print("{:12} {:10} {:8.3f}% {:8.3f}% {:8.1f} {:7} {:>9}\n", text, size,
                 100 * found.identity_score / found.total_score,
                 100 * found.kept_score / found.total_score, found.seconds, found.passes,
                 found.converged ? "yes" : "no");
      std::fflush(stdout);
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  options.search.threads = 2;
  CLI::App app("Times the search for channel permutations.");
  app.add_option("--threads", options.search.threads);
  app.add_option("--shape", options.shape);
  app.add_option("--side", options.side)->check(CLI::IsMember({"input", "output", "both"}));
  app.add_option("--assignment", options.assignments, "groups in an assignment; 0: automatic")
      ->delimiter(',')
      ->allow_extra_args(false);
  app.add_option("--limit", options.search.limit_seconds);
  app.add_option("--tolerance", options.search.tolerance);
  app.add_option("pattern", options.patterns);
  CLI11_PARSE(app, argc, argv);
  try {
    run(options);
    return 0;
  } catch (const std::exception& error) {
    fmt::print(stderr, "permutation_bench: {}\n", error.what());
    return 1;
  }
}
