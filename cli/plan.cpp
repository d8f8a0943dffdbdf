// coppice plan: which pattern each layer of a checkpoint should get for a wanted speed.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <optional>
#include <set>

#include "bench_gpu.h"
#include "command.h"
#include "console.h"
#include "coppice/cancel.h"
#include "coppice/checkpoint.h"
#include "coppice/error.h"
#include "plan_gpu.h"
#include "plan_speeds.h"
#include "progress.h"
#include "selection.h"
#include "table.h"
#include "units.h"

namespace coppice::cli {
namespace {

constexpr const char* kDetails =
    "Examples:\n"
    "  coppice plan MODEL_DIR --speedup 2 --tokens 4096\n"
    "  coppice plan MODEL_DIR --tokens 1 --pattern 2:8,64:2:8 --measure --csv speeds.csv\n"
    "  coppice prune MODEL_DIR --speedup 2 --speeds speeds.csv -o PRUNED_DIR\n"
    "\n"
    "Times come from the performance model (docs/performance/model.md), which needs no GPU; "
    "--measure times every product on this machine's GPU as well, and then those times count. "
    "Constants: of this machine's GPU ('coppice calibrate'), else those of an H200. 'prune' then "
    "makes its own choice among the speeds in the file: there the weights count as well.";

constexpr const char* kPatterns =
    "2:4,64:2:5,64:2:8,128:2:8,64:2:16,128:2:16,2:8,vw32/8:32,bw64x64/8:32";

const std::array<std::pair<const char*, Dtype>, 3> kDtypes = {
    {{"f16", Dtype::f16}, {"bf16", Dtype::bf16}, {"f32", Dtype::f32}}};

class PlanCommand final : public Command {
 public:
  std::string name() const override { return "plan"; }
  std::string summary() const override {
    return "Say which pattern each layer should get for a wanted speed, and why";
  }
  std::string details() const override { return kDetails; }
  void declare(CLI::App& app) override;
  int run() override;

 private:
  std::vector<Pattern> patterns() const;
  PlanProduct product() const;
  std::string text(const std::vector<PlanGroup>& groups) const;
  Json json(const std::vector<PlanGroup>& groups) const;

  std::string path_, gpu_name_, constants_, csv_, dtype_ = "f16", layout_ = "token";
  std::vector<std::string> pattern_texts_;
  std::optional<double> speedup_;
  std::int64_t tokens_ = 4096;
  bool measure_ = false;
  WeightSelection selection_;
  cuda::model::Gpu gpu_;
};

void PlanCommand::declare(CLI::App& app) {
  app.add_option("path", path_, "Checkpoint directory")->required()->type_name("MODEL_DIR");
  app.add_option("--tokens", tokens_, "Tokens of a product")
      ->check(CLI::Range(1, 1 << 20))
      ->type_name("N")
      ->capture_default_str();
  auto* speedup = app.add_option("--speedup", speedup_,
                                 "Take the most diverse pattern that is so many times as fast as "
                                 "dense (without: the fastest)")
                      ->type_name("S");
  require_number(speedup, 1, 1000);
  app.add_option("--pattern", pattern_texts_,
                 fmt::format("Candidates, separated by commas (default: {})", kPatterns))
      ->type_name("P,...");
  app.add_option("--dtype", dtype_, "Of weights and activations: f16, bf16, f32")
      ->check(CLI::IsMember({"f16", "bf16", "f32"}))
      ->type_name("DTYPE")
      ->capture_default_str();
  app.add_option("--layout", layout_, "Of the activations: token, feature")
      ->check(CLI::IsMember({"token", "feature"}))
      ->type_name("LAYOUT")
      ->capture_default_str();
  app.add_flag("--measure", measure_, "Time every product on this machine's GPU as well");
  app.add_option("--gpu", gpu_name_,
                 "Predict for this GPU: one of the constants file, or h200 (default: this "
                 "machine's, else h200)")
      ->type_name("NAME");
  app.add_option("--constants", constants_,
                 "File that 'coppice calibrate' wrote (default: $COPPICE_GPU_MODEL, else "
                 "coppice/gpu_model.json in the cache directory)")
      ->type_name("FILE");
  app.add_option("--csv", csv_, "Write the speeds to this file, for 'coppice prune --speeds'")
      ->type_name("FILE");
  add_selection(app, selection_);
  add_json(app);
}

std::vector<Pattern> PlanCommand::patterns() const {
  std::vector<Pattern> patterns;
  const auto texts =
      split_list(pattern_texts_.empty() ? std::vector<std::string>{kPatterns} : pattern_texts_);
  for (const std::string& text : texts) {
    const Pattern pattern = parse_pattern(text);
    if (pattern.is_dense())
      throw UsageError("--pattern dense: dense products are always compared with");
    if (std::ranges::find(patterns, pattern) == patterns.end()) patterns.push_back(pattern);
  }
  if (patterns.empty()) throw UsageError("--pattern names no pattern");
  return patterns;
}

PlanProduct PlanCommand::product() const {
  PlanProduct product;
  product.tokens = tokens_;
  product.dtype =
      std::ranges::find_if(kDtypes, [&](const auto& d) { return dtype_ == d.first; })->second;
  product.layout = layout_ == "token" ? Layout::token_major : Layout::feature_major;
  return product;
}

double total(const std::vector<PlanGroup>& groups, bool dense) {
  double sum = 0;
  for (const PlanGroup& group : groups)
    sum +=
        static_cast<double>(group.layers.size()) * (dense ? group.dense : group.choice()).seconds();
  return sum;
}

std::string PlanCommand::text(const std::vector<PlanGroup>& groups) const {
  std::vector<Table::Column> columns = {
      {"layers", Align::left}, {"shape"}, {"pattern", Align::left}, {"predicted"}};
  if (measure_) columns.push_back({"measured"});
  columns.insert(
      columns.end(),
      {{"speedup"}, {"bound by", Align::left}, {"kernel", Align::left}, {"", Align::left}});
  Table table(columns);
  const auto cells = [&](const std::string& layers, const std::string& shape, const PlanTime& time,
                         const std::string& speedup, const std::string& mark) {
    std::vector<std::string> row = {layers, shape, time.pattern.to_string(),
                                    human_seconds(time.predicted)};
    if (measure_) row.push_back(time.measured > 0 ? human_seconds(time.measured) : "-");
    row.insert(row.end(), {speedup, time.limit, time.kernel, mark});
    return row;
  };
  for (const PlanGroup& group : groups) {
    const std::string layers =
        group.layers.size() == 1
            ? group.layers[0]
            : fmt::format("{} and {} more", group.layers[0], group.layers.size() - 1);
    table.add(cells(layers, shape_text(group.shape.rows, group.shape.cols), group.dense, "",
                    group.chosen < 0 ? "<- " + group.why : ""));
    for (std::size_t i = 0; i < group.patterns.size(); ++i)
      table.add(cells("", "", group.patterns[i], times_text(group.speedup(group.patterns[i])),
                      static_cast<int>(i) == group.chosen ? "<- " + group.why : ""));
  }
  const double dense = total(groups, true), chosen = total(groups, false);
  std::vector<std::string> last = {"all layers, dense", "", "", human_seconds(dense)};
  table.add_total(last);
  last = {"all layers, as chosen", "", "", human_seconds(chosen)};
  if (measure_) last.emplace_back();
  last.push_back(times_text(dense / chosen));
  table.add_total(last);
  return table.to_string() +
         fmt::format("{} tokens, {}, {}-major activations, {}. Constants: {}.\n", tokens_, dtype_,
                     layout_, gpu_.name, gpu_.source);
}

Json time_json(const PlanTime& time) {
  return {{"pattern", time.pattern.to_string()},
          {"predicted_seconds", time.predicted},
          {"measured_seconds", time.measured > 0 ? Json(time.measured) : Json(nullptr)},
          {"kernel", time.kernel},
          {"bound_by", time.limit}};
}

Json PlanCommand::json(const std::vector<PlanGroup>& groups) const {
  Json rows = Json::array();
  for (const PlanGroup& group : groups) {
    Json patterns = Json::array();
    for (const PlanTime& time : group.patterns) {
      patterns.push_back(time_json(time));
      patterns.back()["speedup"] = group.speedup(time);
    }
    rows.push_back({{"layers", group.layers},
                    {"rows", group.shape.rows},
                    {"cols", group.shape.cols},
                    {"dense", time_json(group.dense)},
                    {"candidates", patterns},
                    {"chosen", group.choice().pattern.to_string()},
                    {"speedup", group.speedup(group.choice())},
                    {"because", group.why}});
  }
  const double dense = total(groups, true), chosen = total(groups, false);
  return {{"version", COPPICE_VERSION},
          {"model", path_},
          {"gpu", gpu_.name},
          {"constants", gpu_.source},
          {"tokens", tokens_},
          {"dtype", dtype_},
          {"layout", layout_},
          {"wanted", speedup_ ? Json(*speedup_) : Json(nullptr)},
          {"dense_seconds", dense},
          {"seconds", chosen},
          {"speedup", chosen > 0 ? dense / chosen : 1},
          {"groups", rows}};
}

int PlanCommand::run() {
  const std::vector<Pattern> wanted = patterns();
  PlanProduct product = this->product();
  if (measure_) resolve_device("cuda");
  gpu_ = plan_gpu(gpu_name_, constants_, measure_);
  const Checkpoint checkpoint = Checkpoint::open(path_);
  if (checkpoint.is_packed())
    throw InvalidArgument(fmt::format("{}: is packed already; plan the dense checkpoint", path_));
  std::vector<PlanGroup> groups = plan_groups(checkpoint.linear_weights(selection_));
  if (groups.empty()) throw InvalidArgument(fmt::format("{}: has no linear weights", path_));
  std::vector<std::string> notes;
  Progress progress("planning");
  PlanTimer timer(measure_);
  for (std::size_t i = 0; i < groups.size(); ++i) {
    throw_if_cancelled();
    progress.update(static_cast<std::int64_t>(i), std::ssize(groups), groups[i].layers[0]);
    product.shape = groups[i].shape;
    predict_times(groups[i], product, wanted, gpu_, notes);
    if (measure_) timer.time(groups[i], product, notes);
    choose_pattern(groups[i], speedup_.value_or(0));
  }
  progress.clear();
  for (const std::string& text : notes) note("left out: " + text);
  if (!csv_.empty()) write_lines(csv_, speed_lines(groups, product, gpu_));
  if (json_)
    print_json(json(groups));
  else
    print(text(groups));
  return 0;
}

}  // namespace

std::unique_ptr<Command> make_plan() { return std::make_unique<PlanCommand>(); }

}  // namespace coppice::cli
