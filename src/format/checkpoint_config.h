// What Coppice reads from a model's config.json. Not part of the public API.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "coppice/checkpoint.h"

namespace coppice {

/// Objects sorted by key, as transformers writes them; an order-keeping type would search linearly.
using ConfigJson = nlohmann::json;

/// The sizes that fused projections are cut by; 0 where the config does not say.
struct ModelConfig {
  std::string model_type;
  std::int64_t hidden = 0, heads = 0, kv_heads = 0, head_dim = 0;
  bool tied_embeddings = true;  ///< transformers' default
};

/// Parses the text of a JSON object. Throws FileError naming `file`.
ConfigJson parse_json_object(const std::string& text, const std::string& file);

/// The same for config.json, in which Python's json, and with it transformers, writes NaN and
/// Infinity: they become null, since nothing that is read from a config may be either.
ConfigJson parse_config(const std::string& text, const std::string& file);

/// Reads sizes at the top level, or in `text_config` of a multi-modal model. Wrong types count as
/// absent: the config describes much that is not our concern.
ModelConfig model_config(const ConfigJson& config);

/// Whether `quantization_config` is Coppice's own. Throws FileError if its version is unknown.
bool is_packed_config(const ConfigJson& config, const std::string& file);

/// `quant_method` of a quantization_config that is not Coppice's; empty if there is none.
std::string foreign_quantization(const ConfigJson& config);

/// The `quantization_config` of a packed checkpoint (docs/checkpoint.md).
ConfigJson quantization_config(std::span<const PackItem> items);

/// The text of config.json with that `quantization_config`, or without any; the rest as it was.
std::string packed_config_text(const std::string& text, std::span<const PackItem> items);
std::string unpacked_config_text(const std::string& text);

/// The weights that a Coppice `quantization_config` lists, with every field checked for type and
/// range, but not yet against tensors. Throws FileError naming `file` and the weight.
std::vector<PackedEntry> parse_packed_entries(const ConfigJson& config, const std::string& file);

}  // namespace coppice
