#include "prune_journal.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <cerrno>
#include <cmath>
#include <cstring>
#include <limits>

#include "coppice/error.h"
#include "core/file_output.h"

namespace coppice::cli {
namespace {

namespace fs = std::filesystem;

constexpr const char* kSettingsFile = "run.json";
constexpr const char* kLayerSuffix = ".safetensors";
constexpr const char* kTensor = "pruned";
constexpr const char* kLayerKey = "layer";
constexpr std::uint64_t kMostSettings = 1 << 28;

// JSON has no infinity, which the error of a layer can be.
Json number_json(double value) {
  if (std::isfinite(value)) return value;
  return std::isnan(value) ? "nan" : "inf";
}

double parse_number(const Json& json) {
  if (json.is_number()) return json.get<double>();
  return json.get<std::string>() == "inf" ? std::numeric_limits<double>::infinity()
                                          : std::numeric_limits<double>::quiet_NaN();
}

Json optional_json(const std::optional<double>& value) {
  return value ? number_json(*value) : Json(nullptr);
}

std::optional<double> parse_optional(const Json& json) {
  if (json.is_null()) return std::nullopt;
  return parse_number(json);
}

Json layer_json(const PrunedLayer& layer) {
  return {{"name", layer.weight.name},
          {"scored_by", layer.scored_by},
          {"total_score", number_json(layer.total_score)},
          {"kept_score", number_json(layer.kept_score)},
          {"kept_of_scores", optional_json(layer.kept_of_scores)},
          {"error", optional_json(layer.errors.calibration)},
          {"held_out_error", optional_json(layer.errors.held_out)},
          {"blocks", layer.blocks},
          {"unproven_blocks", layer.unproven_blocks},
          {"seconds", layer.seconds},
          {"note", layer.note},
          {"input_permutation", layer.input_permutation},
          {"order_gain", optional_json(layer.order_gain)}};
}

void parse_layer(const Json& json, PrunedLayer& layer) {
  if (json.at("name") != layer.weight.name)
    throw FileError(fmt::format("it holds '{}'", json.at("name").get<std::string>()));
  layer.scored_by = json.at("scored_by").get<std::string>();
  layer.total_score = parse_number(json.at("total_score"));
  layer.kept_score = parse_number(json.at("kept_score"));
  layer.kept_of_scores = parse_optional(json.at("kept_of_scores"));
  layer.errors = {parse_optional(json.at("error")), parse_optional(json.at("held_out_error"))};
  layer.blocks = json.at("blocks").get<std::int64_t>();
  layer.unproven_blocks = json.at("unproven_blocks").get<std::int64_t>();
  layer.seconds = json.at("seconds").get<double>();
  layer.note = json.at("note").get<std::string>();
  layer.input_permutation = json.at("input_permutation").get<Permutation>();
  if (!layer.input_permutation.empty())
    check_permutation(layer.input_permutation, layer.weight.shape.cols, "input_permutation");
  layer.order_gain = parse_optional(json.at("order_gain"));
}

std::string shown(const Json& settings, const std::string& key) {
  return settings.contains(key) ? settings[key].dump() : "not set";
}

}  // namespace

PruneJournal::PruneJournal(const fs::path& output, std::span<const LinearWeight> weights,
                           const Json& settings, bool restart)
    : directory_((output.has_filename() ? output : output.parent_path()).string() + ".journal") {
  for (const LinearWeight& weight : weights)
    files_.emplace(weight.name, directory_ / fmt::format("{:05}{}", files_.size(), kLayerSuffix));
  std::error_code error;
  fs::create_directory(directory_, error);
  if (error) throw_file_error("create", directory_, error.value());
  lock();
  clear(restart);
  if (fs::exists(directory_ / kSettingsFile)) {
    check_settings(settings);
  } else {
    clear(true);
    write_settings(settings);
  }
}

PruneJournal::~PruneJournal() {
  std::error_code ignored;
  if (fs::exists(directory_, ignored) && finished() == 0) fs::remove_all(directory_, ignored);
}

void PruneJournal::write_settings(const Json& settings) const {
  AtomicFile file(directory_ / kSettingsFile);
  const std::string text = settings.dump(2) + "\n";
  file.write_at(0, std::as_bytes(std::span(text)));
  file.commit();
}

// The kernel lets go of it when the process ends, whatever ends it.
void PruneJournal::lock() {
  lock_ = FileDescriptor(open(directory_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (lock_.get() < 0) throw_file_error("open", directory_, errno);
  if (flock(lock_.get(), LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
    throw InvalidArgument(
        fmt::format("'{}': another process is working on that output", directory_.string()));
}

// Files that were being written when a run ended, or all.
void PruneJournal::clear(bool everything) const {
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(directory_)) {
    const std::string name = entry.path().filename().string();
    if (everything || name.find(".tmp-") != std::string::npos) fs::remove(entry.path(), ignored);
  }
}

void PruneJournal::check_settings(const Json& settings) const {
  const Json old =
      Json::parse(read_text(directory_ / kSettingsFile, kMostSettings), nullptr, false);
  const auto refuse = [&](const std::string& why) {
    throw InvalidArgument(
        fmt::format("'{}' holds the finished layers of another run: {}; finish that run, or "
                    "forget it with --restart",
                    directory_.string(), why));
  };
  if (!old.is_object()) refuse(fmt::format("{} cannot be read", kSettingsFile));
  for (const Json* json : {&settings, &old})
    for (const auto& entry : json->items())
      if (!old.contains(entry.key()) || !settings.contains(entry.key()) ||
          old[entry.key()] != settings[entry.key()])
        refuse(fmt::format("{} was {}, is {}", entry.key(), shown(old, entry.key()),
                           shown(settings, entry.key())));
}

std::size_t PruneJournal::finished() const {
  std::size_t count = 0;
  for (const auto& entry : fs::directory_iterator(directory_))
    count += entry.path().extension() == kLayerSuffix;
  return count;
}

bool PruneJournal::has(const LinearWeight& weight) const { return fs::exists(file_of(weight)); }

void PruneJournal::store(const PrunedLayer& layer, const DenseView& pruned) {
  SafetensorsWriter writer(file_of(layer.weight),
                           {{kTensor, pruned.dtype, {pruned.rows, pruned.cols}}},
                           {{kLayerKey, layer_json(layer).dump()}});
  const auto row_bytes = static_cast<std::size_t>(pruned.cols * dtype_bytes(pruned.dtype));
  for (std::int64_t r = 0; r < pruned.rows; ++r) writer.append(0, {pruned.row(r), row_bytes});
  writer.commit();
}

// The layer's line, and what `use` does with the file, with one error for a damaged one.
PrunedLayer PruneJournal::read(const LinearWeight& weight, const Pattern& pattern,
                               const std::function<void(const SafetensorsFile&)>& use) const {
  const SafetensorsFile file = SafetensorsFile::open(file_of(weight));
  PrunedLayer layer{.weight = weight, .pattern = pattern};
  try {
    parse_layer(Json::parse(file.metadata().at(kLayerKey)), layer);
    if (use) use(file);
  } catch (const std::exception& error) {  // a damaged file: JSON, keys, shapes
    throw FileError(
        fmt::format("'{}' is not what a pruning run has left ({}); forget it with "
                    "--restart",
                    file.name(), error.what()));
  }
  return layer;
}

bool PruneJournal::has_order(const LinearWeight& weight, const Pattern& pattern) const {
  return !read(weight, pattern, {}).input_permutation.empty();
}

PrunedLayer PruneJournal::load(const LinearWeight& weight, const Pattern& pattern,
                               const MutableDenseView& pruned) const {
  return read(weight, pattern, [&](const SafetensorsFile& file) {
    const StoredTensor& tensor = file.at(kTensor);
    if (tensor.dtype != pruned.dtype ||
        tensor.shape != std::vector<std::int64_t>{pruned.rows, pruned.cols})
      throw FileError("its shape or dtype is another one");
    const std::span<const std::byte> bytes = file.data(tensor);
    const auto row_bytes = static_cast<std::size_t>(pruned.cols * dtype_bytes(pruned.dtype));
    for (std::int64_t r = 0; r < pruned.rows; ++r)
      std::memcpy(pruned.row(r), bytes.data() + static_cast<std::size_t>(r) * row_bytes, row_bytes);
  });
}

void PruneJournal::remove() {
  std::error_code ignored;
  fs::remove_all(directory_, ignored);
}

std::string fingerprint(const std::vector<fs::path>& files) {
  std::string text;
  for (const fs::path& path : files) {
    struct stat status = {};
    if (stat(path.c_str(), &status) != 0) throw_file_error("read", path, errno);
    text += fmt::format("{}{} bytes of {}.{:09}", text.empty() ? "" : ", ", status.st_size,
                        status.st_mtim.tv_sec, status.st_mtim.tv_nsec);
  }
  return text;
}

}  // namespace coppice::cli
