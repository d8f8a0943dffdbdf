#include "explain.h"

#include <CLI/CLI.hpp>
#include <array>

#include "command.h"
#include "coppice/grid.h"
#include "table.h"
#include "units.h"

namespace coppice::cli {
namespace {

// Large enough that short groups and vectors at the edges do not show.
constexpr std::int64_t kRows = 4096, kCols = 4096;
constexpr std::array kWeightDtypes = {Dtype::f32, Dtype::bf16, Dtype::f16, Dtype::f8_e4m3,
                                      Dtype::i8};

struct Engine {
  std::string name, answer;
  bool takes = false;
};

std::vector<Engine> engines(const Pattern& pattern) {
  bool tensor_cores = pattern.fits_sparse_tensor_cores();
  std::string why = "no: they need 2 of 4 (2:4, or V:2:M with 4 kept columns)";
  if (tensor_cores) why = "yes: keeps 2 of 4, alone or inside the kept columns";
  return {{"CPU (f32, bf16, f16)", "yes: this version multiplies by it", true},
          {"NVIDIA Sparse Tensor Cores", why, tensor_cores}};
}

std::string_view kind_name(PatternKind kind) {
  switch (kind) {
    case PatternKind::dense:
      return "dense";
    case PatternKind::element:
      return "element-wise";
    case PatternKind::vector:
      return "vector-wise";
    case PatternKind::block:
      return "block-wise";
    case PatternKind::vnm:
      return "V:N:M";
  }
  return "unknown";
}

class Explain final : public Command {
 public:
  std::string name() const override { return "explain"; }
  std::string summary() const override { return "Say in words what a sparsity pattern means"; }
  std::string details() const override {
    return "Examples:\n"
           "  coppice explain 2:4\n"
           "  coppice explain 64:2:8 vw32/8:32 --json\n"
           "  coppice explain 64:2:8 --decay\n"
           "\n" +
           std::string(pattern_grammar());
  }
  void declare(CLI::App& app) override {
    app.add_option("pattern", patterns_, "One or more patterns")->required()->type_name("PATTERN");
    app.add_flag("--decay", decay_,
                 "Also list the patterns on the way there, for pruning between epochs of "
                 "fine-tuning (structure decay)");
    auto* steps = app.add_option("--decay-steps", options_.steps,
                                 "Steps of --decay (default: one for each weight a group loses, at "
                                 "most 8)")
                      ->check(CLI::Range(1, 256))
                      ->type_name("N");
    steps->needs("--decay");
    add_json(app);
  }
  int run() override {
    Json all = Json::array();
    std::string text;
    for (const std::string& name : split_list(patterns_)) {
      Pattern pattern = parse_pattern(name);
      if (!text.empty()) text += "\n";
      text += explain_text(pattern);
      all.push_back(explain_json(pattern));
      if (!decay_) continue;
      const std::vector<DecayStep> steps = structure_decay(pattern, options_);
      text += "\n" + decay_text(steps);
      all.back()["decay"] = decay_json(steps);
    }
    if (json_)
      print_json(all);
    else
      print(text);
    return 0;
  }

 private:
  std::vector<std::string> patterns_;
  bool decay_ = false;
  DecayOptions options_;
};

}  // namespace

std::string explain_text(const Pattern& pattern) {
  Grid grid(pattern, {kRows, kCols, {}, {}});
  std::string out =
      fmt::format("{} ({}): {}.\nDensity {}.\n\n", pattern.to_string(), kind_name(pattern.kind()),
                  pattern.describe(), percent(pattern.density()));
  Table table({{"dtype", Align::left}, {"bits per weight"}, {"dense bits"}, {"size"}});
  for (Dtype dtype : kWeightDtypes) {
    double bits = grid.bits_per_weight(dtype);
    table.add({std::string(dtype_name(dtype)), fmt::format("{:.3f}", bits),
               std::to_string(dtype_bits(dtype)), percent(bits / dtype_bits(dtype))});
  }
  out += table.to_string();
  out += fmt::format(
      "Bits per weight: stored values and indices of a {} weight; size: against dense.\n\n",
      shape_text(kRows, kCols));
  for (const Engine& engine : engines(pattern))
    out += fmt::format("{}: {}\n", engine.name, engine.answer);
  return out;
}

Json explain_json(const Pattern& pattern) {
  Grid grid(pattern, {kRows, kCols, {}, {}});
  Json bits = Json::object();
  for (Dtype dtype : kWeightDtypes)
    bits[std::string(dtype_name(dtype))] = grid.bits_per_weight(dtype);
  Json takes = Json::object();
  for (const Engine& engine : engines(pattern)) takes[engine.name] = engine.takes;
  return {{"pattern", pattern.to_string()},
          {"kind", kind_name(pattern.kind())},
          {"meaning", pattern.describe()},
          {"density", pattern.density()},
          {"shape", {kRows, kCols}},
          {"bits_per_weight", bits},
          {"engines", takes}};
}

std::string decay_text(const std::vector<DecayStep>& steps) {
  Table table({{"epoch"}, {"pattern", Align::left}, {"kept"}});
  for (const DecayStep& step : steps)
    table.add(
        {std::to_string(step.epoch), step.pattern.to_string(), percent(step.pattern.density())});
  return table.to_string() + "Structure decay: prune to each pattern before its epoch.\n";
}

Json decay_json(const std::vector<DecayStep>& steps) {
  Json list = Json::array();
  for (const DecayStep& step : steps)
    list.push_back({{"epoch", step.epoch},
                    {"pattern", step.pattern.to_string()},
                    {"density", step.pattern.density()}});
  return list;
}

std::unique_ptr<Command> make_explain() { return std::make_unique<Explain>(); }

}  // namespace coppice::cli
