// What an open checkpoint holds. Not part of the public API.
#pragma once

#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "coppice/checkpoint.h"
#include "format/checkpoint_config.h"

namespace coppice {

inline constexpr const char* kSingleFile = "model.safetensors";
inline constexpr const char* kIndexFile = "model.safetensors.index.json";
inline constexpr const char* kConfigFile = "config.json";

/// Metadata of a safetensors file with packed weights.
inline constexpr const char* kFormatKey = "coppice_format";
inline constexpr const char* kFormatText = "1";
/// Where a packed file that stands alone keeps what config.json says in a checkpoint.
inline constexpr const char* kQuantizationKey = "quantization_config";

/// Names of the arrays of a packed weight.
struct PackedNames {
  std::string values, columns, metadata, input_permutation;
  explicit PackedNames(const std::string& weight)
      : values(weight + ".values"),
        columns(weight + ".columns"),
        metadata(weight + ".metadata"),
        input_permutation(weight + ".input_permutation") {}
};

struct Checkpoint::Impl {
  std::filesystem::path directory;
  std::string config_text;
  ConfigJson config;
  std::string config_name;  // the file that holds it, for messages
  ModelConfig model;
  bool has_index = false;
  ConfigJson index;  // model.safetensors.index.json, if has_index
  std::vector<SafetensorsFile> files;
  std::vector<std::string> file_names;
  std::vector<CheckpointTensor> tensors;
  std::vector<const StoredTensor*> stored;  // in the order of `tensors`
  std::unordered_map<std::string_view, std::size_t> by_name;
  bool packed = false;
  std::vector<PackedEntry> entries;
  std::unordered_map<std::string_view, std::size_t> entry_by_name;

  /// Index into `tensors`, or nothing.
  std::optional<std::size_t> position(std::string_view name) const;
  const SafetensorsFile& file_of(std::size_t tensor) const { return files[tensors[tensor].file]; }
  std::span<const std::byte> data(std::size_t tensor) const {
    return file_of(tensor).data(*stored[tensor]);
  }
  /// The bytes of one weight inside its tensor. Throws InvalidArgument if the weight is not one of
  /// this checkpoint.
  std::span<const std::byte> data(const LinearWeight& weight) const;
};

/// Loads and checks `impl.entries` of a packed checkpoint whose tensors are loaded. Throws
/// FileError.
void load_packed_entries(Checkpoint::Impl& impl);

}  // namespace coppice
