// coppice inspect: what is in a checkpoint, and which patterns it already satisfies.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <filesystem>
#include <map>
#include <optional>

#include "command.h"
#include "console.h"
#include "coppice/checkpoint.h"
#include "coppice/error.h"
#include "detection.h"
#include "explain.h"
#include "progress.h"
#include "selection.h"
#include "table.h"
#include "units.h"

namespace coppice::cli {
namespace {

namespace fs = std::filesystem;

constexpr const char* kDetails =
    "Examples:\n"
    "  coppice inspect MODEL_DIR\n"
    "  coppice inspect PRUNED_DIR --pattern 64:2:8\n"
    "  coppice inspect model.safetensors --json\n"
    "  coppice inspect 64:2:8                        the same as 'coppice explain 64:2:8'\n"
    "\n"
    "PATH is a checkpoint directory (dense or packed) or one safetensors file.";

constexpr const char* kLegend =
    "role: 'linear' weights are pruned by default, the others with --include only; read: how the "
    "weight lies in its tensor; nonzero: share of weights that are not zero;\npatterns: the "
    "tightest that the weight satisfies already ('packed': the pattern it is stored in).\n";

/// One row of the table.
struct Entry {
  LinearWeight weight;
  Found found{};
  bool packed = false;
  std::int64_t stored_bytes = 0;  ///< as it lies in the file
  std::optional<bool> fits{};     ///< --pattern: is it satisfied
  std::int64_t fitted_bytes = 0;  ///< --pattern: bytes that packing would take
};

class InspectCommand final : public Command {
 public:
  std::string name() const override { return "inspect"; }
  std::string summary() const override {
    return "Show what is in a checkpoint and which patterns it satisfies";
  }
  std::string details() const override { return kDetails; }
  void declare(CLI::App& app) override;
  int run() override;

 private:
  int explain();
  std::vector<Entry> entries(const Checkpoint& checkpoint) const;
  Entry dense_entry(const LinearWeight& weight, const DenseView& dense) const;
  void inspect_directory() const;
  void inspect_file() const;
  std::string entries_text(const std::vector<Entry>& entries) const;
  Json entries_json(const std::vector<Entry>& entries) const;

  std::string path_, pattern_text_;
  std::optional<Pattern> pattern_;
};

void InspectCommand::declare(CLI::App& app) {
  app.add_option("path", path_, "Checkpoint directory or safetensors file")
      ->required()
      ->type_name("PATH");
  app.add_option("--pattern", pattern_text_, "Also say which weights satisfy this pattern")
      ->type_name("P");
  add_threads(app);
  add_json(app);
}

Entry InspectCommand::dense_entry(const LinearWeight& weight, const DenseView& dense) const {
  Entry entry{.weight = weight};
  entry.found = find_patterns(dense, weight.shape, {}, threads());
  entry.stored_bytes = dense_bytes(weight);
  if (pattern_) {
    entry.fits =
        !find_patterns(dense, weight.shape, std::array{*pattern_}, threads()).satisfied.empty();
    entry.fitted_bytes = Grid(*pattern_, weight.shape).own_bytes(weight.dtype);
  }
  return entry;
}

std::vector<Entry> InspectCommand::entries(const Checkpoint& checkpoint) const {
  std::vector<Entry> entries;
  Progress progress("reading");
  std::int64_t done = 0;
  auto step = [&](const std::string& name) {
    throw_if_cancelled();
    progress.update(done, static_cast<std::int64_t>(checkpoint.tensor_bytes()), name);
  };
  for (const PackedEntry& packed : checkpoint.packed_weights()) {
    step(packed.weight.name);
    Entry entry{.weight = packed.weight, .packed = true};
    Grid grid(packed.pattern, packed.weight.shape);
    entry.found = {grid.density(), {packed.pattern}};
    entry.stored_bytes = grid.own_bytes(packed.weight.dtype) +
                         (packed.has_input_permutation ? 4 * packed.weight.shape.cols : 0);
    if (pattern_) {
      entry.fits = packed.pattern == *pattern_;
      entry.fitted_bytes = Grid(*pattern_, packed.weight.shape).own_bytes(packed.weight.dtype);
    }
    done += entry.stored_bytes;
    entries.push_back(std::move(entry));
  }
  for (const LinearWeight& weight : all_prunable(checkpoint)) {
    step(weight.name);
    WeightData data = checkpoint.read(weight, threads());
    entries.push_back(dense_entry(weight, data.view()));
    done += entries.back().stored_bytes;
    checkpoint.drop(weight);
  }
  return entries;
}

std::string patterns_text(const Entry& entry) {
  if (entry.packed) return entry.found.tightest().to_string() + " (packed)";
  const auto& all = entry.found.satisfied;
  if (all.empty()) return "none";
  std::string text = all[0].to_string();
  if (all.size() > 1) text += ", " + all[1].to_string();
  if (all.size() > 2) text += fmt::format(", {} more", all.size() - 2);
  return text;
}

std::string InspectCommand::entries_text(const std::vector<Entry>& entries) const {
  std::vector<Table::Column> columns = {{"weight", Align::left},
                                        {"role", Align::left},
                                        {"read", Align::left},
                                        {"shape"},
                                        {"dtype", Align::left},
                                        {"stored"},
                                        {"nonzero"},
                                        {"patterns", Align::left}};
  if (pattern_) {
    columns.push_back({pattern_->to_string(), Align::left});
    columns.push_back({"packed as " + pattern_->to_string(), Align::right});
  }
  Table table(std::move(columns));
  std::int64_t stored = 0, fitted = 0, weights = 0;
  for (const Entry& entry : entries) {
    const WeightShape& shape = entry.weight.shape;
    stored += entry.stored_bytes;
    fitted += entry.fitted_bytes;
    weights += shape.rows * shape.cols;
    std::vector<std::string> row = {entry.weight.name,
                                    std::string(role_name(entry.weight.role)),
                                    reading_text(entry.weight),
                                    shape_text(shape.rows, shape.cols),
                                    std::string(dtype_name(entry.weight.dtype)),
                                    human_bytes(static_cast<double>(entry.stored_bytes)),
                                    percent(entry.found.density),
                                    patterns_text(entry)};
    if (entry.fits) {
      row.push_back(*entry.fits ? "yes" : "no");
      row.push_back(human_bytes(static_cast<double>(entry.fitted_bytes)));
    }
    table.add(std::move(row));
  }
  std::vector<std::string> total = {
      fmt::format("{} weights", entries.size()), "", "",
      human_count(static_cast<double>(weights)), "", human_bytes(static_cast<double>(stored))};
  if (pattern_) {
    total.resize(9);
    total.push_back(human_bytes(static_cast<double>(fitted)));
  }
  table.add_total(std::move(total));
  return table.to_string() + kLegend;
}

Json InspectCommand::entries_json(const std::vector<Entry>& entries) const {
  Json rows = Json::array();
  for (const Entry& entry : entries) {
    Json row = weight_json(entry.weight);
    row["bytes"] = entry.stored_bytes;
    row["nonzero"] = entry.found.density;
    row["packed"] = entry.packed;
    row["pattern"] = entry.found.tightest().to_string();
    row["satisfies"] = Json::array();
    for (const Pattern& pattern : entry.found.satisfied)
      row["satisfies"].push_back(pattern.to_string());
    if (entry.fits) {
      row["fits"] = *entry.fits;
      row["fitted_bytes"] = entry.fitted_bytes;
    }
    rows.push_back(std::move(row));
  }
  return rows;
}

// Tensors and bytes of one role.
struct RoleSum {
  std::int64_t tensors = 0, bytes = 0;
};

// The parts of packed weights are counted with them, not here.
std::map<std::string, RoleSum> sum_roles(const Checkpoint& checkpoint,
                                         const std::vector<Entry>& entries) {
  std::map<std::string, RoleSum> sums;
  for (const Entry& entry : entries) {
    RoleSum& sum = sums[std::string(role_name(entry.weight.role))];
    ++sum.tensors;
    sum.bytes += entry.stored_bytes;
  }
  std::int64_t listed = 0, bytes_listed = 0;
  for (const auto& [name, sum] : sums) bytes_listed += sum.bytes;
  for (const CheckpointTensor& tensor : checkpoint.tensors()) {
    bool other = tensor.role == TensorRole::embedding || tensor.role == TensorRole::tied_head;
    if (!other) continue;
    RoleSum& sum = sums[std::string(role_name(tensor.role))];
    ++sum.tensors;
    sum.bytes += byte_count(tensor);
    ++listed;
    bytes_listed += byte_count(tensor);
  }
  auto rest = static_cast<std::int64_t>(checkpoint.tensor_bytes()) - bytes_listed;
  if (rest > 0) sums["other"] = {0, rest};
  return sums;
}

Json left_json(const Checkpoint& checkpoint) {
  Json rows = Json::array();
  for (const CheckpointTensor& tensor : checkpoint.tensors())
    if (tensor.left_for_dtype)
      rows.push_back({{"tensor", tensor.name},
                      {"dtype", dtype_name(tensor.dtype)},
                      {"shape", tensor.shape},
                      {"bytes", byte_count(tensor)}});
  return rows;
}

void InspectCommand::inspect_directory() const {
  Checkpoint checkpoint = Checkpoint::open(path_);
  std::vector<Entry> found = entries(checkpoint);
  auto roles = sum_roles(checkpoint, found);
  if (json_) {
    Json by_role = Json::object();
    for (const auto& [role, sum] : roles) by_role[role] = {{"bytes", sum.bytes}};
    print_json({{"command", "inspect"},
                {"path", path_},
                {"model_type", checkpoint.model_type()},
                {"packed", checkpoint.is_packed()},
                {"files", checkpoint.file_names()},
                {"tensors", checkpoint.tensors().size()},
                {"bytes", checkpoint.tensor_bytes()},
                {"weights", entries_json(found)},
                {"roles", by_role},
                {"left_for_dtype", left_json(checkpoint)}});
    return;
  }
  print(fmt::format("{}: {} checkpoint, model type '{}', {} tensors in {} file(s), {}\n\n", path_,
                    checkpoint.is_packed() ? "packed" : "dense", checkpoint.model_type(),
                    checkpoint.tensors().size(), checkpoint.files().size(),
                    human_bytes(static_cast<double>(checkpoint.tensor_bytes()))));
  print(entries_text(found) + "\n");
  Table table({{"tensors by role", Align::left}, {"bytes"}});
  for (const auto& [role, sum] : roles)
    table.add({role, human_bytes(static_cast<double>(sum.bytes))});
  print(table.to_string());
  if (const std::string left = left_for_dtype(checkpoint); !left.empty())
    print(fmt::format("Among 'other', weights of dtypes that cannot be pruned: {}.\n", left));
}

// One file says nothing about roles or adapters: two-dimensional tensors are taken as stored.
void InspectCommand::inspect_file() const {
  SafetensorsFile file = SafetensorsFile::open(path_);
  std::vector<Entry> found;
  Progress progress("reading");
  std::int64_t others = 0, other_bytes = 0, total = 0;
  for (const StoredTensor& tensor : file.tensors()) total += byte_count(tensor);
  for (const StoredTensor& tensor : file.tensors()) {
    throw_if_cancelled();
    if (tensor.shape.size() != 2 || !is_weight_dtype(tensor.dtype)) {
      ++others;
      other_bytes += byte_count(tensor);
      continue;
    }
    progress.update(static_cast<std::int64_t>(tensor.begin), total, tensor.name);
    LinearWeight weight;
    weight.name = weight.tensor = tensor.name;
    weight.role = TensorRole::other;
    weight.dtype = tensor.dtype;
    weight.shape = {tensor.shape[0], tensor.shape[1], {}, {}};
    DenseView view{file.data(tensor).data(), tensor.dtype, tensor.shape[0], tensor.shape[1], 0};
    found.push_back(dense_entry(weight, view));
    file.drop(file.data(tensor));
  }
  progress.clear();
  if (json_) {
    print_json({{"command", "inspect"},
                {"path", path_},
                {"tensors", file.tensors().size()},
                {"bytes", total},
                {"weights", entries_json(found)}});
    return;
  }
  print(fmt::format("{}: one safetensors file, {} tensors, {}\n\n", path_, file.tensors().size(),
                    human_bytes(static_cast<double>(total))));
  print(entries_text(found));
  if (others > 0)
    print(fmt::format("Not listed: {} tensors with another number of dimensions or dtype, {}.\n",
                      others, human_bytes(static_cast<double>(other_bytes))));
}

// `coppice inspect 64:2:8`: a pattern instead of a path.
int InspectCommand::explain() {
  Pattern pattern = parse_pattern(path_);
  if (json_)
    print_json(Json::array({explain_json(pattern)}));
  else
    print(explain_text(pattern));
  return 0;
}

int InspectCommand::run() {
  if (!pattern_text_.empty()) pattern_ = parse_pattern(pattern_text_);
  if (!fs::exists(path_)) {
    if (path_.find(':') != std::string::npos || path_ == "dense") return explain();
    throw FileError(
        fmt::format("'{}' does not exist; inspect needs a checkpoint directory, a safetensors file "
                    "or a pattern",
                    path_));
  }
  if (fs::is_directory(path_))
    inspect_directory();
  else
    inspect_file();
  return 0;
}

}  // namespace

std::unique_ptr<Command> make_inspect() { return std::make_unique<InspectCommand>(); }

}  // namespace coppice::cli
