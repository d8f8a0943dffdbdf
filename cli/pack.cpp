// coppice pack: a pruned checkpoint in its compressed form.
#include <CLI/CLI.hpp>
#include <array>
#include <optional>
#include <set>

#include "command.h"
#include "console.h"
#include "coppice/checkpoint.h"
#include "coppice/error.h"
#include "detection.h"
#include "magnitude.h"
#include "progress.h"
#include "selection.h"
#include "table.h"
#include "units.h"
#include "written_json.h"

namespace coppice::cli {
namespace {

constexpr const char* kDetails =
    "Examples:\n"
    "  coppice pack PRUNED_DIR -o PACKED_DIR\n"
    "  coppice pack PRUNED_DIR --pattern 64:2:8 -o PACKED_DIR\n"
    "\n"
    "Linear weights that satisfy a pattern are stored as values and indices; all others stay as "
    "they are. The packed checkpoint needs Coppice to open; 'coppice unpack' gives the dense "
    "weights back, bit for bit.";

constexpr const char* kLegend =
    "nonzero: share of weights that are not zero; dense, packed: bytes before and after. Layers "
    "with the pattern 'dense' satisfy no pattern and are stored as they were.\n";

struct PlannedLayer {
  LinearWeight weight;
  Pattern pattern;  // dense: not packed
  double nonzero = 1;
  std::int64_t dense_bytes = 0, packed_bytes = 0;

  void keep_dense() {
    pattern = Pattern{};
    packed_bytes = dense_bytes;
  }
};

class PackCommand final : public Command {
 public:
  std::string name() const override { return "pack"; }
  std::string summary() const override { return "Store a pruned checkpoint compressed"; }
  std::string details() const override { return kDetails; }
  void declare(CLI::App& app) override;
  int run() override;

 private:
  std::vector<PlannedLayer> plan(const Checkpoint& input) const;
  PlannedLayer plan_layer(const Checkpoint& input, const LinearWeight& weight,
                          const std::optional<Pattern>& wanted) const;
  void print_text(const std::vector<PlannedLayer>& layers, const WriteReport& written) const;
  void print_as_json(const std::vector<PlannedLayer>& layers, const WriteReport& written) const;

  std::string input_, output_, pattern_ = "detect";
  WeightSelection selection_;
  bool allow_nonfinite_ = false;
};

void PackCommand::declare(CLI::App& app) {
  app.add_option("model_dir", input_, "Pruned checkpoint directory (dense weights with zeros)")
      ->required()
      ->type_name("MODEL_DIR");
  app.add_option("-o,--output", output_, "Directory to write; must not exist")
      ->required()
      ->type_name("OUT");
  app.add_option("--pattern", pattern_, "Pattern, or detect: the tightest that a layer satisfies")
      ->type_name("P")
      ->capture_default_str();
  add_selection(app, selection_);
  app.add_flag("--allow-nonfinite", allow_nonfinite_, "Go on where weights are NaN or infinite");
  add_threads(app);
  add_device(app, "Where weights are compressed", "auto");
  add_json(app);
}

PlannedLayer PackCommand::plan_layer(const Checkpoint& input, const LinearWeight& weight,
                                     const std::optional<Pattern>& wanted) const {
  WeightData data = input.read(weight, threads());
  check_finite(weight.name, data.view(), allow_nonfinite_, threads());
  Found found = wanted ? find_patterns(data.view(), weight.shape, std::array{*wanted}, threads())
                       : find_tightest(data.view(), weight.shape, threads());
  PlannedLayer layer{.weight = weight, .pattern = found.tightest(), .nonzero = found.density};
  layer.dense_bytes = dense_bytes(weight);
  layer.packed_bytes = packed_bytes({weight, layer.pattern});
  input.drop(weight);
  return layer;
}

std::vector<PlannedLayer> PackCommand::plan(const Checkpoint& input) const {
  std::optional<Pattern> wanted;
  if (pattern_ != "detect") wanted = parse_pattern(pattern_);
  std::vector<LinearWeight> weights = input.linear_weights(selection_);
  std::int64_t total = 0, done = 0;
  for (const auto& weight : weights) total += dense_bytes(weight);
  std::vector<PlannedLayer> layers;
  Progress progress("reading");
  for (const auto& weight : weights) {
    throw_if_cancelled();
    progress.update(done, total, weight.name);
    layers.push_back(plan_layer(input, weight, wanted));
    done += layers.back().dense_bytes;
  }
  return layers;
}

void PackCommand::print_text(const std::vector<PlannedLayer>& layers,
                             const WriteReport& written) const {
  Table table({{"layer", Align::left},
               {"shape"},
               {"dtype", Align::left},
               {"pattern", Align::left},
               {"nonzero"},
               {"dense"},
               {"packed"},
               {"%"}});
  auto sizes = [](std::vector<std::string> cells, double dense, double packed) {
    cells.push_back(human_bytes(dense));
    cells.push_back(human_bytes(packed));
    cells.push_back(fmt::format("{:.1f}", dense > 0 ? 100 * packed / dense : 100.0));
    return cells;
  };
  double dense = 0, packed = 0;
  for (const auto& layer : layers) {
    dense += static_cast<double>(layer.dense_bytes);
    packed += static_cast<double>(layer.packed_bytes);
    table.add(
        sizes({layer.weight.name, shape_text(layer.weight.shape.rows, layer.weight.shape.cols),
               std::string(dtype_name(layer.weight.dtype)), layer.pattern.to_string(),
               percent(layer.nonzero)},
              static_cast<double>(layer.dense_bytes), static_cast<double>(layer.packed_bytes)));
  }
  table.add_total(sizes({fmt::format("{} layers", layers.size()), "", "", "", ""}, dense, packed));
  table.add_total(sizes({"whole checkpoint", "", "", "", ""},
                        static_cast<double>(written.tensor_bytes_in),
                        static_cast<double>(written.tensor_bytes_out)));
  print(table.to_string() + kLegend);
  print(fmt::format("Wrote '{}': needs Coppice to open; 'coppice unpack' makes it dense again.\n",
                    output_));
}

void PackCommand::print_as_json(const std::vector<PlannedLayer>& layers,
                                const WriteReport& written) const {
  Json rows = Json::array();
  for (const auto& layer : layers) {
    Json row = weight_json(layer.weight);
    row["pattern"] = layer.pattern.to_string();
    row["nonzero"] = layer.nonzero;
    row["dense_bytes"] = layer.dense_bytes;
    row["packed_bytes"] = layer.packed_bytes;
    rows.push_back(std::move(row));
  }
  print_json(written_json("pack", input_, output_, std::move(rows), written));
}

int PackCommand::run() {
  if (pattern_ != "detect") parse_pattern(pattern_);
  MagnitudeEngine engine(device(), asked_device() == "cuda");
  Checkpoint input = Checkpoint::open(input_);
  check_output(input_, output_);
  if (input.is_packed()) throw InvalidArgument(fmt::format("'{}' is packed already", input_));
  std::vector<PlannedLayer> layers = plan(input);
  std::vector<PackItem> wanted;
  for (const auto& layer : layers) wanted.push_back({layer.weight, layer.pattern});
  const std::vector<PackItem> items = worth_packing(wanted);
  std::set<std::string_view> packed;
  for (const auto& item : items) packed.insert(item.weight.name);
  for (auto& layer : layers)
    if (!packed.contains(layer.weight.name)) layer.keep_dense();
  if (items.empty())
    throw InvalidArgument(
        fmt::format("'{}': no linear weight satisfies {}; 'coppice prune' it first", input_,
                    pattern_ == "detect" ? "any pattern" : "the pattern " + pattern_));
  auto compressor = [&](const PackItem& item, const DenseView& dense) {
    return engine.pack(dense, item.pattern, compress_options(item, threads()));
  };
  WriteReport written;
  {
    Progress progress("packing");
    written = write_packed(input, output_, items, compressor, write_options(threads(), progress));
  }
  note_left_out(written);
  if (json_)
    print_as_json(layers, written);
  else
    print_text(layers, written);
  return 0;
}

}  // namespace

std::unique_ptr<Command> make_pack() { return std::make_unique<PackCommand>(); }

}  // namespace coppice::cli
