#include "coppice/checkpoint.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>
#include <system_error>
#include <utility>

#include "coppice/error.h"
#include "core/file.h"
#include "format/checkpoint_impl.h"
#include "format/checkpoint_roles.h"
#include "format/safetensors_header.h"

namespace coppice {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kMaxJson = 256'000'000;

bool path_exists(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

// What to say to a user whose directory has no safetensors: the way out depends on what is there.
[[noreturn]] void no_weights(const fs::path& directory) {
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(directory, ignored)) {
    const std::string name = entry.path().filename().string();
    if (name.ends_with(".bin") || name.ends_with(".pt") || name.ends_with(".pth"))
      throw FileError(fmt::format(
          "{}: weights are in {}, safetensors are needed; convert them with Python: "
          "AutoModel.from_pretrained('{}').save_pretrained('OUT_DIR', safe_serialization=True) "
          "of the transformers package",
          directory.string(), printable(name), directory.string()));
  }
  throw FileError(
      fmt::format("{}: neither {} nor {} is there; needed is a model directory as "
                  "transformers' save_pretrained writes it",
                  directory.string(), kSingleFile, kIndexFile));
}

void check_directory(const fs::path& directory) {
  std::error_code error;
  const fs::file_status status = fs::status(directory, error);
  if (!fs::exists(status))
    throw FileError(fmt::format("{}: there is no such directory", directory.string()));
  if (!fs::is_directory(status))
    throw FileError(
        fmt::format("{}: not a directory; needed is a model directory with {} and "
                    "safetensors files",
                    directory.string(), kConfigFile));
}

// A shard name is untrusted: it must be a plain file name, so that nothing outside is read.
void check_shard_name(const std::string& name, const std::string& index) {
  const bool plain = !name.empty() && name != "." && name != ".." &&
                     name.find('/') == std::string::npos && name.find('\\') == std::string::npos &&
                     name.find('\0') == std::string::npos;
  if (!plain)
    throw FileError(
        fmt::format("{}: shard name '{}' is not a plain file name", index, printable(name)));
}

using WeightMap = std::map<std::string, std::string>;  // tensor -> shard

WeightMap weight_map(const ConfigJson& index, const std::string& file) {
  auto it = index.find("weight_map");
  if (it == index.end() || !it->is_object() || it->empty())
    throw FileError(fmt::format("{}: there is no weight_map", file));
  WeightMap map;
  for (const auto& [tensor, shard] : it->items()) {
    if (!shard.is_string())
      throw FileError(fmt::format("{}: the shard of '{}' is not a text", file, printable(tensor)));
    check_shard_name(shard.get_ref<const std::string&>(), file);
    map.emplace(tensor, shard.get<std::string>());
  }
  return map;
}

void check_weight_map(const Checkpoint::Impl& impl, const WeightMap& map, const std::string& file) {
  for (const auto& [tensor, shard] : map) {
    const std::optional<std::size_t> position = impl.position(tensor);
    if (!position || impl.file_names[impl.tensors[*position].file] != shard)
      throw FileError(fmt::format("{}: tensor '{}' is not in its shard {}", file, printable(tensor),
                                  printable(shard)));
  }
}

void add_file(Checkpoint::Impl& impl, const std::string& name) {
  impl.files.push_back(SafetensorsFile::open(impl.directory / name));
  impl.file_names.push_back(name);
}

void list_tensors(Checkpoint::Impl& impl) {
  for (std::size_t file = 0; file < impl.files.size(); ++file) {
    for (const StoredTensor& stored : impl.files[file].tensors()) {
      impl.tensors.push_back(
          {stored, file, tensor_role(stored, impl.model), is_left_for_dtype(stored, impl.model)});
      impl.stored.push_back(&stored);
    }
  }
  for (std::size_t i = 0; i < impl.tensors.size(); ++i) {
    const auto [other, added] = impl.by_name.emplace(impl.tensors[i].name, i);
    if (!added)
      throw FileError(fmt::format("tensor '{}' is both in {} and in {}",
                                  printable(impl.tensors[i].name),
                                  impl.file_of(other->second).name(), impl.file_of(i).name()));
  }
}

void open_sharded(Checkpoint::Impl& impl) {
  const fs::path path = impl.directory / kIndexFile;
  impl.has_index = true;
  impl.index = parse_json_object(read_text(path, kMaxJson), path.string());
  const WeightMap map = weight_map(impl.index, path.string());
  std::set<std::string> shards;
  for (const auto& [tensor, shard] : map) shards.insert(shard);
  for (const std::string& shard : shards) {
    if (!path_exists(impl.directory / shard))
      throw FileError(fmt::format("{}: shard {} is missing; download the checkpoint again",
                                  path.string(), printable(shard)));
    add_file(impl, shard);
  }
  list_tensors(impl);
  check_weight_map(impl, map, path.string());
}

}  // namespace

std::optional<std::size_t> Checkpoint::Impl::position(std::string_view name) const {
  auto it = by_name.find(name);
  return it == by_name.end() ? std::nullopt : std::optional(it->second);
}

Checkpoint::Checkpoint(std::unique_ptr<const Impl> impl) : impl_(std::move(impl)) {}
Checkpoint::Checkpoint(Checkpoint&&) noexcept = default;
Checkpoint& Checkpoint::operator=(Checkpoint&&) noexcept = default;
Checkpoint::~Checkpoint() = default;

Checkpoint Checkpoint::open(const fs::path& directory) {
  check_directory(directory);
  auto impl = std::make_unique<Impl>();
  impl->directory = directory;
  const fs::path config = directory / kConfigFile;
  const bool single = path_exists(directory / kSingleFile);
  if (!single && !path_exists(directory / kIndexFile)) no_weights(directory);
  if (!path_exists(config))
    throw FileError(
        fmt::format("{}: there is no {}; needed is a model directory as transformers' "
                    "save_pretrained writes it",
                    directory.string(), kConfigFile));
  impl->config_name = config.string();
  impl->config_text = read_text(config, kMaxJson);
  impl->config = parse_config(impl->config_text, impl->config_name);
  impl->model = model_config(impl->config);
  if (single) {
    add_file(*impl, kSingleFile);
    list_tensors(*impl);
  } else {
    open_sharded(*impl);
  }
  impl->packed = is_packed_config(impl->config, config.string());
  if (impl->packed) load_packed_entries(*impl);
  return Checkpoint(std::move(impl));
}

Checkpoint Checkpoint::open_packed_file(const fs::path& path) {
  auto impl = std::make_unique<Impl>();
  impl->directory = path;
  impl->config_name = path.string();
  impl->files.push_back(SafetensorsFile::open(path));
  impl->file_names.push_back(path.filename().string());
  const SafetensorsMetadata& metadata = impl->files.front().metadata();
  auto text = metadata.find(kQuantizationKey);
  if (text == metadata.end())
    throw FileError(
        fmt::format("{}: it holds no compressed weights of Coppice that are described "
                    "in the file; a checkpoint directory is opened as one",
                    path.string()));
  impl->config[kQuantizationKey] = parse_json_object(text->second, path.string());
  if (!is_packed_config(impl->config, path.string()))
    throw FileError(fmt::format("{}: its weights were not packed by Coppice", path.string()));
  impl->packed = true;
  list_tensors(*impl);
  load_packed_entries(*impl);
  return Checkpoint(std::move(impl));
}

const fs::path& Checkpoint::directory() const { return impl_->directory; }
const std::string& Checkpoint::config_json() const { return impl_->config_text; }
const std::string& Checkpoint::model_type() const { return impl_->model.model_type; }
std::span<const SafetensorsFile> Checkpoint::files() const { return impl_->files; }
std::span<const std::string> Checkpoint::file_names() const { return impl_->file_names; }
std::span<const CheckpointTensor> Checkpoint::tensors() const { return impl_->tensors; }

const CheckpointTensor* Checkpoint::find(std::string_view name) const {
  const std::optional<std::size_t> position = impl_->position(name);
  return position ? &impl_->tensors[*position] : nullptr;
}

std::uint64_t Checkpoint::tensor_bytes() const {
  std::uint64_t bytes = 0;
  for (const StoredTensor* t : impl_->stored) bytes += t->end - t->begin;
  return bytes;
}

std::vector<LinearWeight> Checkpoint::linear_weights(const WeightSelection& selection) const {
  std::vector<LinearWeight> weights;
  for (const CheckpointTensor* tensor : select_tensors(impl_->tensors, selection))
    for (LinearWeight& weight : weights_of(*tensor, impl_->model))
      weights.push_back(std::move(weight));
  return weights;
}

bool Checkpoint::is_packed() const { return impl_->packed; }
std::span<const PackedEntry> Checkpoint::packed_weights() const { return impl_->entries; }

const PackedEntry* Checkpoint::find_packed(std::string_view name) const {
  auto it = impl_->entry_by_name.find(name);
  return it == impl_->entry_by_name.end() ? nullptr : &impl_->entries[it->second];
}

}  // namespace coppice
