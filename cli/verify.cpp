// coppice verify: every compressed weight and every product with it, checked.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cstring>
#include <map>
#include <memory>
#include <optional>

#include "command.h"
#include "console.h"
#include "coppice/checkpoint.h"
#include "coppice/error.h"
#include "detection.h"
#include "progress.h"
#include "selection.h"
#include "table.h"
#include "units.h"
#include "verify_layer.h"

namespace coppice::cli {
namespace {

constexpr const char* kDetails =
    "Examples:\n"
    "  coppice verify PACKED_DIR --against PRUNED_DIR\n"
    "  coppice verify PRUNED_DIR --against MODEL_DIR\n"
    "  coppice verify PACKED_DIR --tokens 64 --json\n"
    "\n"
    "For every packed weight (or, in a dense checkpoint, every linear weight that satisfies a "
    "pattern): the stored form is valid, unpacking and packing it again gives the same bytes, and "
    "the product with random activations by every backend equals the dense product in double "
    "precision within what fp32 sums explain. --against also compares every weight that is not "
    "zero, and every other tensor, with the original, bit for bit. Exit code 1 if anything is off.";

constexpr const char* kLegend =
    "form: indices valid, and the same bytes after unpacking and packing again; error: |y - exact| "
    "/ |exact| of the worst product, over all backends ({}), activation layouts, 1 and {} tokens;\n"
    "bound: what sums in fp32 explain{}.\n";

struct VerifiedLayer {
  LinearWeight weight;
  Pattern pattern;
  LayerCheck check{};
  std::optional<OriginalCheck> original{};
  std::string fault{};  // an exception's text, or what is wrong

  bool ok() const { return fault.empty(); }
};

// The tensors that are not verified weights, compared with the original's.
struct OtherTensors {
  std::int64_t same = 0;
  std::vector<std::string> different;
};

class VerifyCommand final : public Command {
 public:
  std::string name() const override { return "verify"; }
  std::string summary() const override {
    return "Check a packed or pruned checkpoint: stored form and products";
  }
  std::string details() const override { return kDetails; }
  void declare(CLI::App& app) override;
  int run() override;

 private:
  void verify_packed(const Checkpoint& checkpoint, const PackedEntry& entry);
  void verify_dense(const Checkpoint& checkpoint, const LinearWeight& weight);
  void finish(VerifiedLayer layer, const DenseView& dense);
  void compare_others(const Checkpoint& checkpoint);
  void verify_all(const Checkpoint& checkpoint);
  std::string text() const;
  Json json() const;
  bool passed() const;
  void note_left_to_cpu() const;

  std::string path_, against_, pattern_text_ = "detect";
  std::int64_t tokens_ = 16;
  Device used_device_ = Device::cpu;

  std::optional<Checkpoint> original_;
  std::map<std::string, LinearWeight> original_weights_;
  std::vector<VerifiedLayer> layers_;
  OtherTensors others_;
  std::int64_t dense_layers_ = 0;
};

void VerifyCommand::declare(CLI::App& app) {
  app.add_option("model_dir", path_, "Packed or pruned checkpoint directory")
      ->required()
      ->type_name("MODEL_DIR");
  app.add_option("--against", against_, "The checkpoint it came from")->type_name("ORIGINAL");
  app.add_option("--pattern", pattern_text_,
                 "For dense checkpoints: the pattern to verify, or detect")
      ->type_name("P")
      ->capture_default_str();
  app.add_option("--tokens", tokens_, "Tokens of the second product (the first has one)")
      ->check(CLI::Range(1, 4096))
      ->type_name("N")
      ->capture_default_str();
  add_threads(app);
  add_device(app, "Where products are checked beside the CPU", "auto");
  add_json(app);
}

// Takes over the checks that were made, adds the comparison with the original, and says what is
// wrong.
void VerifyCommand::finish(VerifiedLayer layer, const DenseView& dense) {
  if (!layer.check.round_trip)
    layer.fault = "packing it again gives other bytes";
  else if (!layer.check.products_ok())
    layer.fault = "a product is wrong";
  auto found = original_weights_.find(layer.weight.name);
  if (original_ && found == original_weights_.end()) {
    layer.fault = "the original has no such weight";
  } else if (original_) {
    const LinearWeight& weight = found->second;
    if (weight.shape.rows != dense.rows || weight.shape.cols != dense.cols ||
        weight.dtype != dense.dtype) {
      layer.fault = fmt::format("the original is {} {}", dtype_name(weight.dtype),
                                shape_text(weight.shape.rows, weight.shape.cols));
    } else {
      WeightData before = original_->read(weight, threads());
      layer.original = compare_with_original(dense, before.view());
      original_->drop(weight);
      if (layer.original->changed > 0)
        layer.fault = fmt::format("{} weights differ from the original", layer.original->changed);
    }
  }
  layers_.push_back(std::move(layer));
}

void VerifyCommand::verify_packed(const Checkpoint& checkpoint, const PackedEntry& entry) {
  VerifiedLayer layer{.weight = entry.weight, .pattern = entry.pattern};
  try {
    PackedData data = checkpoint.read_packed(entry, threads());
    const WeightShape& shape = entry.weight.shape;
    auto bytes = static_cast<std::size_t>(dense_bytes(entry.weight));
    auto owned = std::make_unique_for_overwrite<std::byte[]>(bytes);
    MutableDenseView dense{owned.get(), entry.weight.dtype, shape.rows, shape.cols, 0};
    decompress(data.view(), dense, threads());
    layer.check = check_layer(data.view(), dense, tokens_, threads(), used_device_);
    finish(std::move(layer), dense);
    checkpoint.drop(entry);
  } catch (const Cancelled&) {
    throw;
  } catch (const Error& error) {  // one bad layer does not hide the others
    layers_.push_back({.weight = entry.weight, .pattern = entry.pattern, .fault = error.what()});
  }
}

void VerifyCommand::verify_dense(const Checkpoint& checkpoint, const LinearWeight& weight) {
  WeightData data = checkpoint.read(weight, threads());
  Pattern pattern;
  if (pattern_text_ == "detect") {
    pattern = find_tightest(data.view(), weight.shape, threads()).tightest();
  } else {
    pattern = parse_pattern(pattern_text_);
    auto found = find_patterns(data.view(), weight.shape, std::array{pattern}, threads());
    if (found.satisfied.empty() && !pattern.is_dense()) {
      layers_.push_back({.weight = weight,
                         .pattern = pattern,
                         .fault = "breaks the pattern " + pattern.to_string()});
      return;
    }
  }
  if (pattern.is_dense()) {
    ++dense_layers_;
    return;
  }
  SparseMatrix sparse = compress(data.view(), pattern,
                                 {.row_segments = weight.shape.row_segments,
                                  .col_segments = weight.shape.col_segments,
                                  .input_permutation = {},
                                  .threads = threads()});
  VerifiedLayer layer{.weight = weight, .pattern = pattern};
  layer.check = check_layer(sparse.view(), data.view(), tokens_, threads(), used_device_);
  finish(std::move(layer), data.view());
  checkpoint.drop(weight);
}

void VerifyCommand::compare_others(const Checkpoint& checkpoint) {
  std::map<std::string, bool> verified;
  for (const VerifiedLayer& layer : layers_) verified[layer.weight.tensor] = true;
  for (const CheckpointTensor& tensor : original_->tensors()) {
    if (verified.contains(tensor.name)) continue;
    throw_if_cancelled();
    const CheckpointTensor* now = checkpoint.find(tensor.name);
    bool same = now != nullptr && now->dtype == tensor.dtype && now->shape == tensor.shape;
    if (same) {
      const SafetensorsFile& old_file = original_->files()[tensor.file];
      const SafetensorsFile& new_file = checkpoint.files()[now->file];
      auto before = old_file.data(old_file.at(tensor.name));
      auto after = new_file.data(new_file.at(tensor.name));
      same = before.empty() || std::memcmp(before.data(), after.data(), before.size()) == 0;
      old_file.drop(before);
      new_file.drop(after);
    }
    if (same)
      ++others_.same;
    else
      others_.different.push_back(tensor.name);
  }
}

void VerifyCommand::verify_all(const Checkpoint& checkpoint) {
  Progress progress("verifying");
  std::int64_t done = 0, total = 0;
  for (const auto& entry : checkpoint.packed_weights()) total += dense_bytes(entry.weight);
  auto weights = all_prunable(checkpoint);
  for (const auto& weight : weights) total += dense_bytes(weight);
  auto step = [&](const LinearWeight& weight) {
    throw_if_cancelled();
    progress.update(done, total, weight.name);
    done += dense_bytes(weight);
  };
  for (const auto& entry : checkpoint.packed_weights()) {
    step(entry.weight);
    verify_packed(checkpoint, entry);
  }
  for (const auto& weight : weights) {
    if (pattern_text_ != "detect" && weight.role != TensorRole::linear) continue;
    step(weight);
    verify_dense(checkpoint, weight);
  }
  if (original_) compare_others(checkpoint);
}

bool VerifyCommand::passed() const {
  return !layers_.empty() && others_.different.empty() &&
         std::ranges::all_of(layers_, [](const VerifiedLayer& layer) { return layer.ok(); });
}

// Said once, and only to those who asked for the GPU.
void VerifyCommand::note_left_to_cpu() const {
  const auto on_gpu = [](const VerifiedLayer& layer) {
    return std::ranges::any_of(layer.check.products,
                               [](const ProductCheck& p) { return p.backend == "cuda"; });
  };
  const auto left = std::ssize(layers_) - std::ranges::count_if(layers_, on_gpu);
  if (asked_device() == "cuda" && left > 0)
    note(fmt::format(
        "{} of {} layers were multiplied on the CPU only: the GPU takes 2:4 and V:2:M in F16 and "
        "BF16",
        left, layers_.size()));
}

std::string VerifyCommand::text() const {
  std::vector<Table::Column> columns = {{"layer", Align::left},
                                        {"shape"},
                                        {"dtype", Align::left},
                                        {"pattern", Align::left},
                                        {"form", Align::left},
                                        {"error"},
                                        {"bound"}};
  if (original_) columns.insert(columns.end(), {{"kept magnitude"}, {"changed"}});
  columns.push_back({"result", Align::left});
  Table table(std::move(columns));
  for (const VerifiedLayer& layer : layers_) {
    const LayerCheck& check = layer.check;
    bool checked = !check.products.empty();
    std::vector<std::string> row = {layer.weight.name,
                                    shape_text(layer.weight.shape.rows, layer.weight.shape.cols),
                                    std::string(dtype_name(layer.weight.dtype)),
                                    layer.pattern.to_string(),
                                    !checked           ? "-"
                                    : check.round_trip ? "exact"
                                                       : "WRONG",
                                    checked ? fmt::format("{:.1e}", check.worst().error) : "-",
                                    checked ? fmt::format("{:.1e}", check.worst().bound) : "-"};
    if (original_) {
      row.push_back(layer.original ? percent(layer.original->kept_magnitude) : "-");
      row.push_back(layer.original ? std::to_string(layer.original->changed) : "-");
    }
    row.push_back(layer.ok() ? "ok" : "FAILED: " + layer.fault);
    table.add(std::move(row));
  }
  std::string out = table.to_string();
  out += fmt::format(fmt::runtime(kLegend), used_device_ == Device::cuda ? "CPU and GPU" : "CPU",
                     tokens_,
                     original_ ? "; kept magnitude: share of the original's sum of |weight|; "
                                 "changed: weights that are neither zero nor the original's"
                               : "");
  auto failed = std::ranges::count_if(layers_, [](const auto& layer) { return !layer.ok(); });
  out += fmt::format("{} of {} layers verified", std::ssize(layers_) - failed, layers_.size());
  if (dense_layers_ > 0) out += fmt::format(", {} satisfy no pattern", dense_layers_);
  if (original_)
    out += fmt::format("; other tensors: {} identical, {} different", others_.same,
                       others_.different.size());
  return out + ".\n";
}

Json VerifyCommand::json() const {
  Json rows = Json::array();
  for (const VerifiedLayer& layer : layers_) {
    Json row = weight_json(layer.weight);
    row["pattern"] = layer.pattern.to_string();
    row["ok"] = layer.ok();
    row["fault"] = layer.ok() ? Json(nullptr) : Json(layer.fault);
    row["form_exact"] = layer.check.round_trip;
    row["bound"] = layer.check.products.empty() ? Json(nullptr) : Json(layer.check.worst().bound);
    row["products"] = Json::array();
    for (const ProductCheck& product : layer.check.products)
      row["products"].push_back({{"backend", product.backend},
                                 {"kernel", product.kernel},
                                 {"tokens", product.tokens},
                                 {"error", product.error},
                                 {"bound", product.bound}});
    if (layer.original) {
      row["kept_magnitude"] = layer.original->kept_magnitude;
      row["changed"] = layer.original->changed;
    }
    rows.push_back(std::move(row));
  }
  return {{"command", "verify"},
          {"path", path_},
          {"against", original_ ? Json(against_) : Json(nullptr)},
          {"ok", passed()},
          {"layers", rows},
          {"dense_layers", dense_layers_},
          {"other_tensors", {{"same", others_.same}, {"different", others_.different}}}};
}

int VerifyCommand::run() {
  if (pattern_text_ != "detect") parse_pattern(pattern_text_);
  used_device_ = device();
  Checkpoint checkpoint = Checkpoint::open(path_);
  if (!against_.empty()) {
    original_.emplace(Checkpoint::open(against_));
    if (original_->is_packed())
      throw InvalidArgument(
          fmt::format("--against '{}' is packed: needs the dense checkpoint", against_));
    for (auto& weight : all_prunable(*original_)) original_weights_[weight.name] = weight;
  }
  verify_all(checkpoint);
  if (layers_.empty())
    throw InvalidArgument(fmt::format(
        "'{}': no weight is packed or satisfies a pattern; there is nothing to verify", path_));
  if (json_)
    print_json(json());
  else
    print(text());
  note_left_to_cpu();
  for (const auto& name : others_.different) note("differs from the original: " + name);
  return passed() ? 0 : 1;
}

}  // namespace

std::unique_ptr<Command> make_verify() { return std::make_unique<VerifyCommand>(); }

}  // namespace coppice::cli
