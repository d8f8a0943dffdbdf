#include "scoring.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <set>

#include "channel_order.h"
#include "command.h"
#include "console.h"
#include "coppice/error.h"
#include "coppice/fisher_order.h"
#include "coppice/output_error.h"
#include "format/checkpoint_adapter.h"
#include "units.h"

namespace coppice::cli {
namespace {

bool scored_by_inputs(const std::string& method) {
  const std::optional<ScoreKind> kind = parse_score(method);
  return kind && needs_statistics(*kind);
}

// An option that only some methods look at.
void refuse_unused(bool given, const char* option, const ScoringOptions& options,
                   std::initializer_list<const char*> methods) {
  if (!given || std::ranges::find(methods, options.method) != methods.end()) return;
  throw UsageError(fmt::format("{} is not looked at by --method {}; use --method {}", option,
                               options.method, fmt::join(methods, " or ")));
}

void check_usage(const ScoringOptions& options) {
  if ((scored_by_inputs(options.method) || moves_weights(options.method)) && options.stats.empty())
    throw UsageError(
        fmt::format("--method {} needs --stats FILE, which python -m coppice.calibrate writes",
                    options.method));
  if (options.method == "scores" && options.scores.empty())
    throw UsageError("--method scores needs --scores FILE, a safetensors file of scores");
  refuse_unused(!options.scores.empty(), "--scores", options, {"scores"});
  refuse_unused(options.damping.has_value(), "--damping", options, {"obs", "admm", "fisher"});
  refuse_unused(options.iterations.has_value(), "--iterations", options, {"admm"});
  refuse_unused(options.refinements.has_value(), "--refinements", options, {"obs", "admm"});
  refuse_unused(options.choice.has_value(), "--choice", options, {"obs", "fisher"});
  const std::set<std::string> of_obs = {"joint", "saliency"},
                              of_fisher = {"exhaustive", "pairwise"};
  const std::set<std::string>& others = options.method == "obs" ? of_fisher : of_obs;
  if (options.choice && others.contains(*options.choice))
    throw UsageError(fmt::format("--choice {} is not for --method {}; it has auto, {}",
                                 *options.choice, options.method,
                                 fmt::join(options.method == "obs" ? of_obs : of_fisher, ", ")));
}

// The scores' tensor looks like the checkpoint's, but for the dtype.
void check_scores(const SafetensorsFile& file, const Checkpoint& input,
                  const LinearWeight& weight) {
  const StoredTensor& scores = file.at(weight.tensor);
  const std::vector<std::int64_t>& shape = input.find(weight.tensor)->shape;
  if (scores.shape != shape)
    throw InvalidArgument(fmt::format("'{}': the scores of '{}' are [{}], the weight is [{}]",
                                      file.name(), weight.tensor, fmt::join(scores.shape, ", "),
                                      fmt::join(shape, ", ")));
  if (!is_weight_dtype(scores.dtype))
    throw InvalidArgument(
        fmt::format("'{}': the scores of '{}' are {}, need to be F32, F16, BF16, F8_E4M3 or I8",
                    file.name(), weight.tensor, dtype_name(scores.dtype)));
}

void check_columns(const StatisticsFile& file, const LinearWeight& weight) {
  const auto [rows, cols] = std::pair(weight.shape.rows, weight.shape.cols);
  if (const FisherInfo* fisher = file.fisher_of(weight.name);
      fisher != nullptr && fisher->blocks != rows * ((cols + fisher->block - 1) / fisher->block))
    throw InvalidArgument(fmt::format(
        "'{}': {} Fisher blocks of {} weights do not fit '{}', which is {} x {}; these are another "
        "model's",
        file.name(), fisher->blocks, fisher->block, weight.name, rows, cols));
  const InputInfo* info = file.input_of(weight.name);
  if (info != nullptr && info->cols != weight.shape.cols)
    throw InvalidArgument(fmt::format(
        "'{}': the input of '{}' has {} columns, the weight has {}; these are another model's",
        file.name(), weight.name, info->cols, weight.shape.cols));
}

}  // namespace

bool moves_weights(const std::string& method) {
  return method == "obs" || method == "admm" || method == "fisher";
}

void add_scoring(CLI::App& app, ScoringOptions& options) {
  app.add_option("--method", options.method,
                 "How weights are scored: magnitude, wanda, ria, scores; or pruned with "
                 "compensation by those that stay: obs, admm, fisher")
      ->check(CLI::IsMember({"magnitude", "wanda", "ria", "scores", "obs", "admm", "fisher"}))
      ->type_name("METHOD")
      ->capture_default_str();
  app.add_option("--stats", options.stats,
                 "Statistics of the layers' inputs, and gradients: for all methods but magnitude "
                 "and scores, and for output errors")
      ->type_name("FILE");
  app.add_option("--held-out", options.held_out,
                 "Statistics of other samples, only to measure output errors")
      ->type_name("FILE");
  app.add_option("--scores", options.scores,
                 "Scores for --method scores: tensors with the weights' names and shapes")
      ->type_name("FILE");
  app.add_option("--missing-stats", options.missing,
                 "Weights without statistics (or scores): 'error', or pruned by 'magnitude'")
      ->check(CLI::IsMember({"error", "magnitude"}))
      ->type_name("WHAT")
      ->capture_default_str();
  auto* damping =
      app.add_option(
             "--damping", options.damping,
             "obs, admm, fisher: added to the diagonal of the Gram matrix or the Fisher blocks, "
             "in units of its mean (default 0.01)")
          ->type_name("X");
  require_number(damping, 0, 1e6);
  app.add_option("--iterations", options.iterations, "admm: at most (default 300)")
      ->check(CLI::Range(1, 1 << 20))
      ->type_name("N");
  app.add_option("--refinements", options.refinements,
                 "obs, admm: steps of conjugate gradients on the support at the end (default 20)")
      ->check(CLI::Range(0, 1 << 20))
      ->type_name("N");
  app.add_option("--choice", options.choice,
                 "How a group's mask is chosen. obs: joint (by what sets of weights cost "
                 "together), saliency (SparseGPT); fisher: exhaustive, pairwise; auto: the first "
                 "where it is affordable")
      ->check(CLI::IsMember({"auto", "joint", "saliency", "exhaustive", "pairwise"}))
      ->type_name("CHOICE");
}

Scoring::Scoring(const ScoringOptions& options, const Checkpoint& input,
                 std::span<const LinearWeight> weights, const UpdateEngine* engine)
    : engine_(engine), method_(options.method), missing_(options.missing) {
  check_usage(options);
  if (!options.stats.empty()) stats_ = open(options.stats, StatisticsSet::calibration, "--stats");
  if (!options.held_out.empty())
    held_out_ = open(options.held_out, StatisticsSet::held_out, "--held-out");
  if (!options.scores.empty()) scores_.emplace(SafetensorsFile::open(options.scores));
  for (const LinearWeight& weight : weights) {
    if (stats_) check_columns(stats_->file, weight);
    if (held_out_) check_columns(held_out_->file, weight);
    if (scores_ && scores_->find(weight.tensor)) check_scores(*scores_, input, weight);
    if (missing_ == "error" && !scorable(weight))
      throw InvalidArgument(
          fmt::format("'{}' has no {} of '{}'; exclude that weight, or prune such weights by "
                      "--missing-stats magnitude",
                      scores_ ? options.scores : options.stats, needed(), weight.name));
  }
}

std::unique_ptr<Scoring::Source> Scoring::open(const std::string& path, StatisticsSet set,
                                               const char* option) {
  StatisticsFile file = StatisticsFile::open(path);
  if (file.contents().set != set)
    throw InvalidArgument(fmt::format("'{}' holds {} samples, {} needs {} ones", path,
                                      set_name(file.contents().set), option, set_name(set)));
  return std::make_unique<Source>(std::move(file));
}

const char* Scoring::needed() const {
  if (method_ == "scores") return "scores";
  if (method_ == "fisher") return "gradients (Fisher blocks)";
  return moves_weights(method_) ? "Gram matrix of the input" : "statistics";
}

bool Scoring::scorable(const LinearWeight& weight) const {
  if (method_ == "scores") return scores_->find(weight.tensor) != nullptr;
  if (method_ == magnitude_) return true;
  if (method_ == "fisher") return stats_->file.fisher_of(weight.name) != nullptr;
  const InputInfo* input = stats_->file.input_of(weight.name);
  return input != nullptr && (input->has_gram || !moves_weights(method_));
}

const std::string& Scoring::method_of(const LinearWeight& weight) const {
  return scorable(weight) ? method_ : magnitude_;
}

std::vector<float> Scoring::scores_from_file(const LinearWeight& weight, int threads) const {
  const StoredTensor& tensor = scores_->at(weight.tensor);
  LinearWeight stored = weight;
  stored.dtype = tensor.dtype;
  const std::size_t bytes = weight_bytes(stored);
  std::vector<std::byte> dense(bytes);
  load_weight(stored,
              scores_->data(tensor).subspan(static_cast<std::size_t>(weight.index) * bytes, bytes),
              dense.data(), threads);
  std::vector<float> scores(static_cast<std::size_t>(weight.shape.rows * weight.shape.cols));
  to_float(tensor.dtype, dense.data(), scores);
  return scores;
}

std::vector<float> Scoring::scores(const LinearWeight& weight, const DenseView& dense,
                                   int threads) const {
  if (method_ == "scores") return scores_from_file(weight, threads);
  std::vector<float> scores(static_cast<std::size_t>(dense.rows * dense.cols));
  score_weights(dense, *parse_score(method_), statistics(weight, threads)->square_sums, scores,
                threads);
  return scores;
}

std::shared_ptr<const InputStatistics> Scoring::statistics(const LinearWeight& weight,
                                                           int threads) const {
  return stats_->of(weight, threads);
}

FisherStatistics Scoring::fisher(const LinearWeight& weight, int threads) const {
  FisherStatistics read = stats_->file.read(*stats_->file.fisher_of(weight.name), threads);
  const auto order_in = [&](const std::map<std::string, Permutation>& orders) {
    const auto found = orders.find(weight.name);
    return found == orders.end() ? Permutation() : found->second;
  };
  const Permutation columns = order_in(stats_->columns), rows = order_in(rows_);
  if (columns.empty() && rows.empty()) return read;
  return gather_fisher(read, weight.shape.cols, rows, columns, threads);
}

std::int64_t Scoring::fisher_block(const LinearWeight& weight) const {
  const FisherInfo* info = method_ == "fisher" ? stats_->file.fisher_of(weight.name) : nullptr;
  return info != nullptr ? info->block : 0;
}

void Scoring::reorder(const std::map<std::string, Permutation>& columns,
                      const std::map<std::string, Permutation>& rows) {
  for (Source* source : {stats_.get(), held_out_.get()})
    if (source != nullptr) source->columns = columns;
  rows_ = rows;
}

std::shared_ptr<const InputStatistics> Scoring::Source::of(const LinearWeight& weight,
                                                           int threads) {
  const InputInfo& info = *file.input_of(weight.name);
  const auto order = columns.find(weight.name);
  const std::lock_guard lock(mutex_);
  std::weak_ptr<const InputStatistics>& known =
      in_use_[order == columns.end() ? info.name : info.name + " for " + weight.name];
  auto statistics = known.lock();
  if (statistics == nullptr) {
    last_.reset();  // before the next one takes its memory
    InputStatistics read = file.read(info, threads);
    if (order != columns.end()) {
      if (info.has_gram) read.gram = gather_gram(read.gram, order->second, threads);
      read.square_sums = gather_values(read.square_sums, order->second);
    }
    statistics = std::make_shared<const InputStatistics>(std::move(read));
    known = statistics;
  }
  last_ = statistics;
  return statistics;
}

std::optional<double> Scoring::Source::error(const LinearWeight& weight, const DenseView& before,
                                             const DenseView& after, int threads,
                                             const UpdateEngine* engine) {
  const InputInfo* info = file.input_of(weight.name);
  if (info == nullptr || !info->has_gram) return std::nullopt;
  return output_error(before, after, of(weight, threads)->gram, threads, engine);
}

bool Scoring::measures(const LinearWeight& weight) const {
  const auto knows = [&](const std::unique_ptr<Source>& source) {
    const InputInfo* info = source ? source->file.input_of(weight.name) : nullptr;
    return info != nullptr && info->has_gram;
  };
  return knows(stats_) || knows(held_out_);
}

LayerErrors Scoring::errors(const LinearWeight& weight, const DenseView& before,
                            const DenseView& after, int threads) const {
  LayerErrors errors;
  if (stats_) errors.calibration = stats_->error(weight, before, after, threads, engine_);
  if (held_out_) errors.held_out = held_out_->error(weight, before, after, threads, engine_);
  return errors;
}

}  // namespace coppice::cli
