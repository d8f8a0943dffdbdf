// What the pruning methods do to the outputs of a model's layers, with and without a permutation of
// the input channels.
//
//   prune_study --model MODEL_DIR --stats FILE --held-out FILE [--include GLOB] [--methods M,M...]
//               [--limit SECONDS] [--threads T] --csv FILE [pattern...]
//
// One CSV line for every layer, pattern, method and order of channels: the relative output error on
// the calibration statistics and on the held-out ones, and the seconds that it took (the search for
// the permutation is counted apart).
#include <fmt/format.h>
#include <fmt/os.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cmath>
#include <exception>
#include <map>
#include <string>
#include <vector>

#include "coppice/checkpoint.h"
#include "coppice/error.h"
#include "coppice/output_error.h"
#include "coppice/permutation_search.h"
#include "coppice/score.h"
#include "coppice/statistics.h"
#include "coppice/update.h"

namespace {

using coppice::DenseView;
using coppice::Permutation;

constexpr double kDamping = 0.01;  // of the library's own defaults

struct Options {
  std::string model, stats, held_out, csv;
  std::vector<std::string> include;
  std::vector<std::string> methods = {"magnitude", "wanda", "ria", "sparsegpt", "obs", "admm"};
  std::vector<std::string> patterns = {"2:4", "4:8", "64:2:8", "vw32/8:32", "64:2:5"};
  double limit = 60;
  int threads = 2;
};

// A layer in one order of its channels.
struct Layer {
  std::int64_t rows = 0, cols = 0;
  std::vector<float> weights;
  std::vector<double> gram, square_sums;

  DenseView view() const { return coppice::dense_view(weights, rows, cols); }
};

double since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

Layer permuted(const Layer& layer, const Permutation& order) {
  Layer out = layer;
  const auto cols = static_cast<std::size_t>(layer.cols);
  for (std::size_t r = 0; r < static_cast<std::size_t>(layer.rows); ++r)
    for (std::size_t c = 0; c < cols; ++c)
      out.weights[r * cols + c] = layer.weights[r * cols + order[c]];
  for (std::size_t i = 0; i < cols; ++i) {
    out.square_sums[i] = layer.square_sums[order[i]];
    for (std::size_t j = 0; j < cols; ++j)
      out.gram[i * cols + j] = layer.gram[order[i] * cols + order[j]];
  }
  return out;
}

std::vector<float> scores_of(const Layer& layer, const std::string& method, int threads) {
  std::vector<float> scores(layer.weights.size());
  if (const auto kind = coppice::parse_score(method))
    coppice::score_weights(layer.view(), *kind, layer.square_sums, scores, threads);
  else
    coppice::score_weights_obs(layer.view(), layer.gram, kDamping, scores, threads);
  return scores;
}

std::vector<float> pruned(const Layer& layer, const coppice::Pattern& pattern,
                          const std::string& method, int threads) {
  std::vector<float> weights = layer.weights;
  if (method == "admm") {
    coppice::admm_prune(weights, layer.rows, layer.cols, pattern, layer.gram, {.threads = threads});
  } else if (method == "obs" || method == "obs-sweep" || method == "sparsegpt") {
    const auto choice =
        method == "sparsegpt" ? coppice::GroupChoice::saliency : coppice::GroupChoice::automatic;
    coppice::obs_prune(weights, layer.rows, layer.cols, pattern, layer.gram,
                       {.choice = choice,
                        .refinements = method == "obs" ? coppice::ObsOptions{}.refinements : 0,
                        .threads = threads});
  } else {
    const std::vector<float> scores = scores_of(layer, method, threads);
    const auto mask = coppice::select_mask(coppice::dense_view(scores, layer.rows, layer.cols),
                                           pattern, {.threads = threads})
                          .mask;
    coppice::apply_mask({reinterpret_cast<std::byte*>(weights.data()), coppice::Dtype::f32,
                         layer.rows, layer.cols, 0},
                        mask, threads);
  }
  return weights;
}

class Study {
 public:
  explicit Study(const Options& options)
      : options_(options),
        checkpoint_(coppice::Checkpoint::open(options.model)),
        stats_(coppice::StatisticsFile::open(options.stats)),
        held_out_(coppice::StatisticsFile::open(options.held_out)),
        csv_(fmt::output_file(options.csv)) {
    csv_.print(
        "layer,rows,cols,pattern,method,order,error,held_out_error,seconds,search_seconds\n");
  }

  void run() {
    for (const auto& weight :
         checkpoint_.linear_weights({.include = options_.include, .exclude = {}})) {
      fmt::print(stderr, "{}\n", weight.name);
      orders_.clear();
      const Layer layer = load(weight);
      const Layer held_out = of(held_out_, weight.name, layer);
      for (const auto& text : options_.patterns)
        for (const auto& method : options_.methods)
          measure(weight.name, layer, held_out, coppice::Pattern::parse(text), method);
      csv_.flush();
    }
  }

 private:
  Layer load(const coppice::LinearWeight& weight) {
    const auto data = checkpoint_.read(weight, options_.threads);
    Layer layer{weight.shape.rows, weight.shape.cols, {}, {}, {}};
    layer.weights.resize(static_cast<std::size_t>(layer.rows * layer.cols));
    for (std::int64_t r = 0; r < layer.rows; ++r)
      coppice::to_float(weight.dtype, data.view().row(r),
                        std::span(layer.weights)
                            .subspan(static_cast<std::size_t>(r * layer.cols),
                                     static_cast<std::size_t>(layer.cols)));
    return of(stats_, weight.name, layer);
  }

  Layer of(const coppice::StatisticsFile& file, const std::string& weight, Layer layer) {
    const coppice::InputInfo* input = file.input_of(weight);
    if (input == nullptr || !input->has_gram || input->cols != layer.cols)
      throw coppice::InvalidArgument(
          fmt::format("'{}' has no Gram matrix for '{}'", file.name(), weight));
    auto read = file.read(*input, options_.threads);
    layer.gram = std::move(read.gram);
    layer.square_sums = std::move(read.square_sums);
    return layer;
  }

  void measure(const std::string& name, const Layer& layer, const Layer& held_out,
               const coppice::Pattern& pattern, const std::string& method) {
    line(name, layer, held_out, pattern, method, "identity", 0);
    const coppice::PermutationResult& found = order_of(layer, pattern, method);
    line(name, permuted(layer, found.permutation), permuted(held_out, found.permutation), pattern,
         method, "permuted", found.seconds);
  }

  // The methods that compensate are served by the same scores.
  const coppice::PermutationResult& order_of(const Layer& layer, const coppice::Pattern& pattern,
                                             const std::string& method) {
    const std::string kind = coppice::parse_score(method) ? method : "obs";
    const auto [at, fresh] = orders_.try_emplace(pattern.to_string() + " by " + kind);
    if (fresh) {
      const std::vector<float> scores = scores_of(layer, kind, options_.threads);
      at->second = coppice::find_input_permutation(
          coppice::dense_view(scores, layer.rows, layer.cols), pattern,
          {.threads = options_.threads, .limit_seconds = options_.limit});
    }
    return at->second;
  }

  void line(const std::string& name, const Layer& layer, const Layer& held_out,
            const coppice::Pattern& pattern, const std::string& method, const char* order,
            double search_seconds) {
    const auto start = std::chrono::steady_clock::now();
    const std::vector<float> after = pruned(layer, pattern, method, options_.threads);
    const double seconds = since(start);
    const DenseView view = coppice::dense_view(after, layer.rows, layer.cols);
    csv_.print("{},{},{},{},{},{},{:.6f},{:.6f},{:.3f},{:.3f}\n", name, layer.rows, layer.cols,
               pattern.to_string(), method, order,
               coppice::output_error(layer.view(), view, layer.gram, options_.threads),
               coppice::output_error(layer.view(), view, held_out.gram, options_.threads), seconds,
               search_seconds);
  }

  Options options_;
  std::map<std::string, coppice::PermutationResult> orders_;  // of this layer
  coppice::Checkpoint checkpoint_;
  coppice::StatisticsFile stats_, held_out_;
  fmt::ostream csv_;
};

}  // namespace

int main(int argc, char** argv) {
  Options options;
  CLI::App app("Output errors of pruning methods on the layers of a model.");
  app.add_option("--model", options.model)->required();
  app.add_option("--stats", options.stats)->required();
  app.add_option("--held-out", options.held_out)->required();
  app.add_option("--csv", options.csv)->required();
  app.add_option("--include", options.include)->allow_extra_args(false);
  app.add_option("--methods", options.methods)->delimiter(',')->allow_extra_args(false);
  app.add_option("--limit", options.limit, "seconds of a permutation search");
  app.add_option("--threads", options.threads);
  app.add_option("pattern", options.patterns);
  CLI11_PARSE(app, argc, argv);
  try {
    Study(options).run();
    return 0;
  } catch (const std::exception& error) {
    fmt::print(stderr, "prune_study: {}\n", error.what());
    return 1;
  }
}
