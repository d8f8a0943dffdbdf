#include "speed_choice.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <set>

#include "command.h"
#include "coppice/error.h"
#include "coppice/pattern_choice.h"
#include "coppice/prune.h"
#include "coppice/statistics.h"
#include "core/parallel_for.h"
#include "dense_copy.h"
#include "progress.h"
#include "selection.h"
#include "table.h"
#include "units.h"

namespace coppice::cli {
namespace {

std::int64_t tokens_of(const SpeedOptions& options, const SpeedTable& speeds) {
  if (options.tokens) return *options.tokens;
  std::set<std::int64_t> measured;
  for (const MeasuredSpeed& entry : speeds.entries()) measured.insert(entry.tokens);
  if (measured.size() == 1) return *measured.begin();
  throw UsageError(fmt::format("'{}' has speeds for {} tokens; say which with --speed-tokens",
                               options.speeds, fmt::join(measured, ", ")));
}

// What is known of a layer before the choice.
struct Candidates {
  std::vector<PatternCandidate> front;  // faster than dense, by falling diversity
  PatternCandidate fastest;
  double dense_seconds = 0;
};

Candidates candidates_of(const SpeedTable& speeds, const LinearWeight& weight,
                         std::int64_t tokens) {
  const auto measured = measured_patterns(speeds, weight.shape.rows, weight.shape.cols, tokens);
  Candidates found;
  found.fastest = *std::ranges::max_element(measured, {}, &PatternCandidate::speedup);
  found.dense_seconds =
      std::ranges::min_element(measured, {}, &PatternCandidate::dense_seconds)->dense_seconds;
  found.front = undominated(measured);
  std::erase_if(found.front, [](const PatternCandidate& c) { return c.speedup <= 1; });
  return found;
}

// Squares of the weights, times those of their inputs where these are known.
class Losses {
 public:
  Losses(const Checkpoint& input, const LossOptions& options) : input_(input), options_(options) {
    if (!options.stats.empty()) stats_.emplace(StatisticsFile::open(options.stats));
  }

  // The share of them that each pattern loses.
  std::vector<double> of(const LinearWeight& weight,
                         std::span<const PatternCandidate> patterns) const {
    std::vector<double> lost;
    if (patterns.empty()) return lost;
    const std::vector<float> scores = squares(weight);
    const DenseView view = dense_view(scores, weight.shape.rows, weight.shape.cols);
    for (const PatternCandidate& candidate : patterns) {
      const MaskResult mask = select_mask(view, candidate.pattern,
                                          {.row_segments = weight.shape.row_segments,
                                           .col_segments = weight.shape.col_segments,
                                           .threads = options_.threads});
      lost.push_back(mask.total_score > 0 ? 1 - mask.kept_score / mask.total_score : 0);
    }
    return lost;
  }

 private:
  std::vector<float> squares(const LinearWeight& weight) const {
    const WeightData data = input_.read(weight, options_.threads);
    check_finite(weight.name, data.view(), options_.allow_nonfinite, options_.threads);
    std::vector<float> scores = finite_scores(data.view());
    input_.drop(weight);
    const InputInfo* info = stats_ ? stats_->input_of(weight.name) : nullptr;
    const bool known = info != nullptr && info->cols == weight.shape.cols;
    const std::vector<double> inputs =
        known ? stats_->read_square_sums(*info).square_sums
              : std::vector<double>(static_cast<std::size_t>(weight.shape.cols), 1.0);
    // Beside the largest input: large sums of squares stay within fp32.
    const double largest = *std::ranges::max_element(inputs);
    const double scale = largest > 0 ? 1 / largest : 1;
    parallel_for(weight.shape.rows, options_.threads, [&](std::int64_t r) {
      for (std::size_t c = 0; c < inputs.size(); ++c) {
        float& score = scores[static_cast<std::size_t>(r) * inputs.size() + c];
        const double value = score;
        score = static_cast<float>(value * value * inputs[c] * scale);
      }
    });
    return scores;
  }

  const Checkpoint& input_;
  const LossOptions& options_;
  std::optional<StatisticsFile> stats_;
};

std::string reason(const Candidates& candidates, std::size_t choice) {
  if (candidates.front.empty())
    return fmt::format("dense wins: {} is the fastest at {}",
                       candidates.fastest.pattern.to_string(),
                       times_text(candidates.fastest.speedup));
  if (choice == 0) return "cheaper to gain in other layers";
  if (choice == 1) return "the freest that is faster than dense";
  return "gains most for what it loses";
}

// Dense first, then the front.
std::vector<LayerOption> options_of(const Candidates& candidates, double dense_time,
                                    std::span<const double> lost) {
  std::vector<LayerOption> options = {{Pattern{}, dense_time, 0}};
  for (std::size_t i = 0; i < candidates.front.size(); ++i)
    options.push_back(
        {candidates.front[i].pattern, dense_time / candidates.front[i].speedup, lost[i]});
  return options;
}

void check_reachable(const std::vector<std::vector<LayerOption>>& layers, double dense,
                     double wanted, std::int64_t tokens) {
  double least = 0;
  for (const auto& options : layers)
    least += std::ranges::min_element(options, {}, &LayerOption::time)->time;
  if (least * wanted > dense * (1 + 1e-12))
    throw InvalidArgument(
        fmt::format("--speedup {:g} cannot be reached with {} tokens: with the fastest measured "
                    "pattern in every layer it is {:.2f}",
                    wanted, tokens, dense / least));
}

}  // namespace

void add_speed(CLI::App& app, SpeedOptions& options) {
  auto* speedup =
      app.add_option("--speedup", options.speedup,
                     "Instead of --pattern: choose each layer's pattern, so that all layers "
                     "together are so many times as fast as dense")
          ->type_name("S");
  require_number(speedup, 1, 1000);
  auto* speeds = app.add_option("--speeds", options.speeds,
                                "Measured speeds for --speedup: CSV, as 'coppice bench --csv' "
                                "writes it")
                     ->needs(speedup)
                     ->type_name("FILE");
  speedup->needs(speeds);
  app.add_option("--speed-tokens", options.tokens,
                 "Tokens at which --speedup is wanted, if the file has several")
      ->check(CLI::PositiveNumber)
      ->needs(speedup)
      ->type_name("TOKENS");
}

SpeedChoice choose_for_speed(const SpeedOptions& options, const Checkpoint& input,
                             std::span<const LinearWeight> weights, const LossOptions& loss) {
  const SpeedTable speeds = SpeedTable::open(options.speeds);
  SpeedChoice choice;
  choice.wanted = *options.speedup;
  choice.tokens = tokens_of(options, speeds);
  std::vector<Candidates> candidates;
  for (const LinearWeight& weight : weights)
    candidates.push_back(candidates_of(speeds, weight, choice.tokens));
  choice.timed = std::ranges::all_of(candidates, [](const auto& c) { return c.dense_seconds > 0; });

  const Losses losses(input, loss);
  std::vector<std::vector<LayerOption>> layers;
  double dense = 0;
  Progress progress("choosing");
  for (std::size_t i = 0; i < weights.size(); ++i) {
    progress.update(static_cast<std::int64_t>(i), std::ssize(weights), weights[i].name);
    const WeightShape& shape = weights[i].shape;
    const double time =
        choice.timed ? candidates[i].dense_seconds : static_cast<double>(shape.rows * shape.cols);
    layers.push_back(options_of(candidates[i], time, losses.of(weights[i], candidates[i].front)));
    dense += time;
  }
  progress.clear();
  check_reachable(layers, dense, choice.wanted, choice.tokens);
  const Allocation allocation = allocate_patterns(layers, dense / choice.wanted * (1 + 1e-12));
  choice.speedup = dense / allocation.time;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    const std::size_t chosen = allocation.choices[i];
    const LayerOption& option = layers[i][chosen];
    choice.layers.push_back({weights[i], option.pattern, layers[i][0].time / option.time,
                             mask_diversity(option.pattern), option.error,
                             reason(candidates[i], chosen)});
  }
  return choice;
}

std::string SpeedChoice::text() const {
  Table table({{"layer", Align::left},
               {"shape"},
               {"pattern", Align::left},
               {"speedup"},
               {"diversity"},
               {"lost"},
               {"because", Align::left}});
  for (const ChosenPattern& layer : layers)
    table.add({layer.weight.name, shape_text(layer.weight.shape.rows, layer.weight.shape.cols),
               layer.pattern.to_string(), times_text(layer.speedup),
               layer.pattern.is_dense() ? "-" : fmt::format("{:.3f}", layer.diversity),
               percent(layer.lost), layer.why});
  table.add_total({fmt::format("{} layers", layers.size()), "", "", times_text(speedup)});
  return table.to_string() +
         fmt::format(
             "speedup: over dense with {} tokens, from the file of speeds; all layers by {} "
             "(wanted: {}); diversity: ln of the number of masks per weight; lost: share "
             "of the squared scores.\n",
             tokens, timed ? "the time of their dense products" : "their size", times_text(wanted));
}

Json SpeedChoice::json() const {
  Json rows = Json::array();
  for (const ChosenPattern& layer : layers)
    rows.push_back({{"name", layer.weight.name},
                    {"pattern", layer.pattern.to_string()},
                    {"speedup", layer.speedup},
                    {"diversity", layer.diversity},
                    {"lost", layer.lost},
                    {"because", layer.why}});
  return {{"wanted", wanted},
          {"speedup", speedup},
          {"tokens", tokens},
          {"timed", timed},
          {"layers", rows}};
}

}  // namespace coppice::cli
