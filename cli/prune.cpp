// coppice prune: a checkpoint with zeros where the pattern wants them.
#include "coppice/prune.h"

#include <CLI/CLI.hpp>
#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <set>

#include "command.h"
#include "console.h"
#include "coppice/checkpoint.h"
#include "coppice/error.h"
#include "dense_copy.h"
#include "fold_orders.h"
#include "format/checkpoint_impl.h"
#include "layer_pruner.h"
#include "layer_queue.h"
#include "long_run.h"
#include "magnitude.h"
#include "progress.h"
#include "prune_journal.h"
#include "prune_report.h"
#include "scoring.h"
#include "selection.h"
#include "speed_choice.h"

namespace coppice::cli {
namespace {

constexpr const char* kDetails =
    "Examples:\n"
    "  coppice prune MODEL_DIR --pattern 2:4 -o PRUNED_DIR\n"
    "  coppice prune MODEL_DIR --pattern 64:2:8 --pattern-for '*down_proj*=2:4' --exclude "
    "'*.layers.0.*' -o PRUNED_DIR\n"
    "  coppice prune MODEL_DIR --pattern vw32/8:32 --time 1,32,512 --json -o PRUNED_DIR\n"
    "  coppice prune MODEL_DIR --pattern 2:4 --pack -o PACKED_DIR\n"
    "  coppice prune MODEL_DIR --pattern 2:4 --method wanda --stats STATS --held-out OTHERS -o "
    "OUT\n"
    "  coppice prune MODEL_DIR --pattern 64:2:8 --method obs --stats STATS -o OUT\n"
    "  coppice prune MODEL_DIR --pattern 64:2:8 --permute --pack -o PACKED_DIR\n"
    "  coppice prune MODEL_DIR --speedup 1.5 --speeds speeds.csv -o PRUNED_DIR\n"
    "\n"
    "The output holds dense weights with zeros in them and opens wherever the input does, stock "
    "transformers included; 'coppice pack' makes it small. --pack writes that small form at once; "
    "it needs Coppice to open.\n"
    "Linear weights of attention and MLP are pruned; embeddings, norms, heads, poolers and routers "
    "are not, unless a head, pooler or router is included by name.\n"
    "The last --pattern-for that matches a weight wins; the pattern 'dense' leaves it alone.";

ColumnSearch parse_search(const std::string& name) {
  if (name == "exact") return ColumnSearch::exact;
  if (name == "swaps") return ColumnSearch::swaps;
  if (name == "greedy") return ColumnSearch::greedy;
  return ColumnSearch::automatic;
}

class PruneCommand final : public Command {
 public:
  std::string name() const override { return "prune"; }
  std::string summary() const override { return "Set weights to zero by an N:M pattern"; }
  std::string details() const override { return kDetails; }
  void declare(CLI::App& app) override;
  bool times_dense() const override { return !no_time_; }
  int run() override;

 private:
  void check_usage() const;
  std::map<std::string, Pattern> patterns_by_weight(const Checkpoint& input);
  std::vector<LinearWeight> pruned_weights(const Checkpoint& checkpoint) const;
  std::unique_ptr<FoldedCheckpoint> fold_orders(const Checkpoint& input);
  void edit(const LinearWeight& weight, const MutableDenseView& dense);
  SparseMatrix compress_pruned(const PackItem& item, const DenseView& dense);
  Json journal_settings() const;
  void prune_layers(const Checkpoint& input, std::span<const LinearWeight> weights);
  WriteReport write(const Checkpoint& input, std::span<const LinearWeight> weights);
  void write_keeping_journal(const Checkpoint& input, std::span<const LinearWeight> weights);
  bool time_layers(LayerTimer& timer);
  void describe_run();
  // Layers go side by side, and through the journal.
  bool takes_long() const {
    return moves_weights(pruner_options_.scoring.method) || pruner_options_.order.permute;
  }

  std::string input_, output_, pattern_, columns_ = "auto";
  std::vector<std::string> pattern_for_;
  WeightSelection selection_;
  std::vector<std::int64_t> time_tokens_ = {1, 256};
  bool no_time_ = false, pack_ = false, restart_ = false;
  double memory_ = 0;
  LayerPruner::Options pruner_options_;
  SpeedOptions speed_options_;

  std::map<std::string, Pattern> patterns_;    // of this run, by weight
  std::map<std::string, FoldedOrder> folded_;  // of weights that read channels in another order
  std::vector<std::filesystem::path> model_files_;
  std::optional<SpeedChoice> choice_;  // with --speedup
  std::optional<MagnitudeEngine> engine_;
  std::unique_ptr<UpdateEngine> update_engine_;
  std::optional<Scoring> scoring_;
  std::optional<LayerPruner> pruner_;
  std::optional<PruneJournal> journal_;  // of methods that take long
  PruneReport report_;
};

void PruneCommand::declare(CLI::App& app) {
  app.add_option("model_dir", input_, "Checkpoint directory (config.json and safetensors)")
      ->required()
      ->type_name("MODEL_DIR");
  auto* pattern = app.add_option("--pattern", pattern_, "Pattern, such as 2:4, vw32/8:32 or 64:2:8")
                      ->type_name("P");
  app.add_option("-o,--output", output_, "Directory to write; must not exist")
      ->required()
      ->type_name("OUT");
  add_speed(app, speed_options_);
  app.get_option("--speedup")->excludes(pattern);
  add_scoring(app, pruner_options_.scoring);
  add_order(app, pruner_options_.order);
  add_selection(app, selection_);
  app.add_option("--pattern-for", pattern_for_,
                 "Another pattern for the weights whose name matches (may be repeated)")
      ->type_name("GLOB=P")
      ->needs(pattern)
      ->allow_extra_args(false);
  app.add_option("--columns", columns_,
                 "How V:N:M finds its columns: auto (exact up to M = 32, then swaps), exact, swaps "
                 "or greedy")
      ->check(CLI::IsMember({"auto", "exact", "swaps", "greedy"}))
      ->type_name("SEARCH");
  app.add_flag("--pack", pack_, "Write the packed form at once, instead of dense with zeros");
  app.add_flag("--allow-nonfinite", pruner_options_.allow_nonfinite,
               "Go on where weights are NaN or infinite; they count as the largest");
  auto* time =
      app.add_option("--time", time_tokens_, "Tokens at which the layers are timed (default 1,256)")
          ->delimiter(',')
          ->allow_extra_args(false)
          ->check(CLI::Range(1, 1 << 16))
          ->type_name("TOKENS,...");
  app.add_flag("--no-time", no_time_, "Do not time the layers")->excludes(time);
  app.add_flag(
      "--restart", restart_,
      "Forget the finished layers of an interrupted run (obs, admm, fisher, --permute) instead of "
      "going on");
  auto* memory =
      app.add_option(
             "--memory", memory_,
             "Gigabytes that layers worked on side by side may take (obs, admm, fisher, --permute; "
             "default: half of what is free)")
          ->type_name("GB");
  require_number(memory, 1e-9, 1e9);
  add_threads(app);
  add_device(app, "Where weights are pruned", "auto");
  add_json(app);
}

std::map<std::string, Pattern> PruneCommand::patterns_by_weight(const Checkpoint& input) {
  std::map<std::string, Pattern> patterns;
  if (speed_options_.speedup) {
    choice_ = choose_for_speed(
        speed_options_, input, input.linear_weights(selection_),
        {pruner_options_.scoring.stats, pruner_options_.allow_nonfinite, threads()});
    for (const ChosenPattern& layer : choice_->layers)
      if (!layer.pattern.is_dense()) patterns[layer.weight.name] = layer.pattern;
    return patterns;
  }
  Pattern base = parse_pattern(pattern_);
  for (const auto& weight : input.linear_weights(selection_)) patterns[weight.name] = base;
  for (const auto& entry : pattern_for_) {
    auto equals = entry.rfind('=');
    if (equals == std::string::npos)
      throw UsageError(fmt::format("--pattern-for '{}': needs GLOB=P, such as '*fc2*=2:4'", entry));
    Pattern pattern = parse_pattern(entry.substr(equals + 1));
    bool used = false;
    for (const auto& weight :
         input.linear_weights({.include = {entry.substr(0, equals)}, .exclude = {}})) {
      auto chosen = patterns.find(weight.name);
      if (chosen == patterns.end()) continue;
      chosen->second = pattern;
      used = true;
    }
    if (!used)
      throw InvalidArgument(fmt::format(
          "--pattern-for '{}' matches only weights that are not pruned in this run", entry));
  }
  std::erase_if(patterns, [](const auto& entry) { return entry.second.is_dense(); });
  return patterns;
}

std::vector<LinearWeight> PruneCommand::pruned_weights(const Checkpoint& checkpoint) const {
  std::vector<LinearWeight> weights;
  for (auto& weight : checkpoint.linear_weights(selection_))
    if (patterns_.contains(weight.name)) weights.push_back(std::move(weight));
  return weights;
}

// The model with its channels in other orders, where a layer gains by that and cannot store one.
std::unique_ptr<FoldedCheckpoint> PruneCommand::fold_orders(const Checkpoint& input) {
  if (!pruner_options_.order.permute) return nullptr;
  auto orders = find_folded_orders(
      input, patterns_,
      [&](const LinearWeight& weight, const DenseView& dense) {
        return pruner_->order_scores(weight, dense, threads());
      },
      [&](const LinearWeight& weight, const WeightShape& shape, const Pattern& pattern) {
        return pruner_->order_shape(weight, shape, pattern);
      },
      pruner_options_.order, threads());
  if (orders.empty()) {
    if (!pack_) note("--permute: no layer gains by an order that the layer before it can take");
    return nullptr;
  }
  Progress progress("folding");
  auto folded = std::make_unique<FoldedCheckpoint>(input, output_, orders,
                                                   write_options(threads(), progress));
  const std::map<std::string, Permutation> rows = row_orders(input, orders);
  std::map<std::string, Permutation> columns;
  for (FoldedOrder& order : orders) {
    const std::string& name = order.folded.fold.consumer;
    columns[name] = order.columns();
    folded_.emplace(name, std::move(order));
  }
  scoring_->reorder(columns, rows);
  return folded;
}

void PruneCommand::edit(const LinearWeight& weight, const MutableDenseView& dense) {
  const Pattern& pattern = patterns_.at(weight.name);
  PrunedLayer layer = journal_ ? journal_->load(weight, pattern, dense)
                               : pruner_->prune(weight, pattern, dense, threads());
  if (const auto order = folded_.find(weight.name); order != folded_.end())
    layer.order_gain = order->second.gain;
  report_.add(std::move(layer));
}

// All that the pruned weights and their lines of the table depend on.
Json PruneCommand::journal_settings() const {
  const ScoringOptions& scoring = pruner_options_.scoring;
  const OrderOptions& order = pruner_options_.order;
  const auto file = [](const std::string& path) {
    return path.empty() ? Json(nullptr) : Json(fingerprint({path}));
  };
  const auto given = [](const auto& value) { return value ? Json(*value) : Json(nullptr); };
  Json settings = {{"version", COPPICE_VERSION},
                   {"the model", fingerprint(model_files_)},
                   {"--stats", file(scoring.stats)},
                   {"--held-out", file(scoring.held_out)},
                   {"--method", scoring.method},
                   {"--missing-stats", scoring.missing},
                   {"--damping", given(scoring.damping)},
                   {"--iterations", given(scoring.iterations)},
                   {"--refinements", given(scoring.refinements)},
                   {"--choice", given(scoring.choice)},
                   {"--columns", columns_},
                   {"--permute", order.permute},
                   {"--pack with --permute", order.permute && order.store},
                   {"--permute-time", order.seconds},
                   {"--device cuda", update_engine_ != nullptr},
                   {"--allow-nonfinite", pruner_options_.allow_nonfinite}};
  for (const auto& [name, pattern] : patterns_)
    settings["the pattern of " + name] = pattern.to_string();
  for (const auto& [name, folded] : folded_)
    settings["the order of " + name] = folded.folded.permutation;
  return settings;
}

void PruneCommand::prune_layers(const Checkpoint& input, std::span<const LinearWeight> weights) {
  if (!pruner_options_.allow_nonfinite) check_weights(input, weights, threads());
  journal_.emplace(output_, weights, journal_settings(), restart_);
  const auto bytes =
      memory_ > 0 ? static_cast<std::uint64_t>(memory_ * 1e9) : available_memory() / 2;
  prune_into(*journal_, input, weights, patterns_, *pruner_, {threads(), bytes});
}

// Through the dense-with-zeros weight: the same bytes as pruning first and packing then, also where
// weights that are kept are zeros.
SparseMatrix PruneCommand::compress_pruned(const PackItem& item, const DenseView& dense) {
  const DenseCopy pruned = copy_of(dense, threads());
  edit(item.weight, pruned.view);
  CompressOptions options = compress_options(item, threads());
  options.input_permutation = report_.layers.back().input_permutation;
  return engine_->pack(pruned.view, item.pattern, options);
}

WriteReport PruneCommand::write(const Checkpoint& input, std::span<const LinearWeight> weights) {
  std::vector<PackItem> wanted;
  for (const auto& weight : weights) wanted.push_back({weight, patterns_.at(weight.name)});
  std::vector<PackItem> items = pack_ ? worth_packing(wanted) : std::vector<PackItem>();
  if (pack_ && items.empty())
    throw InvalidArgument(
        fmt::format("'{}': no weight gets smaller packed; leave --pack out", input_));
  if (takes_long()) prune_layers(input, weights);
  for (PackItem& item : items)
    item.input_permutation = journal_ && journal_->has_order(item.weight, item.pattern);

  Progress progress(journal_ ? "writing" : "pruning");
  const WriteOptions options = write_options(threads(), progress);
  const DenseEdit edit_dense = [&](const LinearWeight& weight, const MutableDenseView& dense) {
    edit(weight, dense);
  };
  if (!pack_) return write_dense(input, output_, weights, edit_dense, options);
  std::set<std::string_view> packed;
  for (const auto& item : items) packed.insert(item.weight.name);
  std::vector<LinearWeight> dense;
  for (const auto& weight : weights)
    if (!packed.contains(weight.name)) dense.push_back(weight);
  return write_packed(
      input, output_, items,
      [&](const PackItem& item, const DenseView& view) { return compress_pruned(item, view); },
      options, {dense, edit_dense});
}

void PruneCommand::write_keeping_journal(const Checkpoint& input,
                                         std::span<const LinearWeight> weights) {
  try {
    report_.written = write(input, weights);
  } catch (...) {
    if (const std::size_t finished = journal_ ? journal_->finished() : 0; finished > 0)
      note(
          fmt::format("{} of {} layers are finished and kept in '{}'; the same command goes on "
                      "from there",
                      finished, weights.size(), journal_->directory().string()));
    throw;
  }
  if (journal_) journal_->remove();
}

// The checkpoint is complete by now: a failure here is told, and costs only the times.
bool PruneCommand::time_layers(LayerTimer& timer) {
  Progress progress("timing");
  std::int64_t done = 0, all = std::ssize(report_.layers);
  try {
    for (PrunedLayer& layer : report_.layers) {
      progress.update(done++, all, layer.weight.name);
      layer.times = timer.time(layer.weight.shape.rows, layer.weight.shape.cols, layer.pattern,
                               layer.weight.dtype);
    }
  } catch (const Error& error) {
    progress.clear();
    report_error(
        fmt::format("timing stopped, the checkpoint itself is complete: {}", error.what()));
    return false;
  }
  return true;
}

// What the report says of the run as a whole.
void PruneCommand::describe_run() {
  report_.input = input_;
  report_.output = output_;
  report_.method = pruner_options_.scoring.method;
  report_.has_error = scoring_->has_statistics();
  report_.has_held_out = scoring_->has_held_out();
  report_.packed = pack_;
  report_.permuted = pruner_options_.order.permute;
}

void PruneCommand::check_usage() const {
  if (pattern_.empty() && !speed_options_.speedup)
    throw UsageError("--pattern P is required, or --speedup S with --speeds FILE");
  if (!pattern_.empty()) parse_pattern(pattern_);  // a wrong one is the first thing to hear about
  if ((restart_ || memory_ > 0) && !takes_long())
    throw UsageError(
        fmt::format("{} is for methods that move weights and --permute, not for --method {}",
                    restart_ ? "--restart" : "--memory", pruner_options_.scoring.method));
  if (pruner_options_.order.permute && pruner_options_.scoring.method == "scores")
    throw UsageError("--permute is not for --method scores, whose file knows the model's order");
  if (pruner_options_.scoring.method == "fisher" && asked_device() == "cuda")
    throw UsageError("--method fisher works on the CPU only; leave --device cuda out");
}

int PruneCommand::run() {
  check_usage();
  engine_.emplace(device(), asked_device() == "cuda");
  // Not on a GPU that is merely there: what comes out depends on it.
  if (moves_weights(pruner_options_.scoring.method) && asked_device() == "cuda")
    update_engine_ = make_update_engine(device());
  pruner_options_.update_engine = update_engine_.get();
  Checkpoint input = Checkpoint::open(input_);
  check_output(input_, output_);
  if (input.is_packed())
    throw InvalidArgument(fmt::format(
        "'{}' is packed: pruning needs dense weights; run 'coppice unpack' first", input_));
  if (const std::string method = foreign_quantization(input.impl().config); !method.empty()) {
    if (pack_)
      throw InvalidArgument(
          fmt::format("'{}' is quantised by {}: --pack needs a checkpoint without "
                      "quantization_config",
                      input_, method));
    note(
        fmt::format("'{}' is quantised by {}: numbers are pruned as they are stored, without "
                    "their scales, and 'coppice pack' will not take the output",
                    input_, method));
  }
  patterns_ = patterns_by_weight(input);
  std::vector<LinearWeight> weights = pruned_weights(input);
  const std::string left = left_for_dtype(input);
  if (weights.empty())
    throw InvalidArgument(fmt::format(
        "'{}': no linear weight is left to prune{}; see 'coppice inspect'", input_,
        left.empty() ? "" : fmt::format(" (of dtypes that cannot be pruned: {})", left)));
  if (!left.empty())
    note(fmt::format("left as they are, since their dtype cannot be pruned: {}", left));

  pruner_options_.order.store = pack_;
  pruner_options_.columns = parse_search(columns_);
  scoring_.emplace(pruner_options_.scoring, input, weights, update_engine_.get());
  pruner_.emplace(pruner_options_, *scoring_, *engine_);
  auto start = std::chrono::steady_clock::now();
  for (const SafetensorsFile& tensors : input.files()) model_files_.emplace_back(tensors.name());
  if (const auto folded = fold_orders(input)) {
    write_keeping_journal(folded->checkpoint(), pruned_weights(folded->checkpoint()));
    report_.written.left_out = folded->written().left_out;
  } else {
    write_keeping_journal(input, weights);
  }
  report_.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  describe_run();
  note_left_out(report_.written);
  LayerTimer timer(no_time_ ? std::vector<std::int64_t>{} : time_tokens_, threads());
  bool timed = time_layers(timer);
  if (json_) {
    Json json = report_.json(timer);
    if (choice_) json["choice"] = choice_->json();
    print_json(json);
  } else {
    print((choice_ ? choice_->text() + "\n" : std::string()) + report_.text(timer));
  }
  return timed ? 0 : 1;
}

}  // namespace

std::unique_ptr<Command> make_prune() { return std::make_unique<PruneCommand>(); }

}  // namespace coppice::cli
