#include "tools/checkpoint_maker.h"

#include <fmt/format.h>

#include <cmath>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "coppice/error.h"
#include "coppice/safetensors.h"

namespace coppice::test {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

// The layers of all-MiniLM-L6-v2 and other BERT-type encoders.
std::vector<TensorInfo> bert_tensors(const CheckpointSpec& s, Dtype dtype) {
  std::vector<TensorInfo> tensors;
  auto add = [&](std::string name, std::vector<std::int64_t> shape) {
    tensors.push_back({std::move(name), dtype, std::move(shape)});
  };
  auto linear = [&](const std::string& name, std::int64_t rows, std::int64_t cols) {
    add(name + ".weight", {rows, cols});
    add(name + ".bias", {rows});
  };
  auto norm = [&](const std::string& name) {
    add(name + ".weight", {s.hidden});
    add(name + ".bias", {s.hidden});
  };
  add("embeddings.word_embeddings.weight", {s.vocab, s.hidden});
  add("embeddings.position_embeddings.weight", {512, s.hidden});
  add("embeddings.token_type_embeddings.weight", {2, s.hidden});
  norm("embeddings.LayerNorm");
  for (std::int64_t i = 0; i < s.layers; ++i) {
    std::string layer = fmt::format("encoder.layer.{}.", i);
    for (const char* part : {"query", "key", "value"})
      linear(layer + "attention.self." + part, s.hidden, s.hidden);
    linear(layer + "attention.output.dense", s.hidden, s.hidden);
    norm(layer + "attention.output.LayerNorm");
    linear(layer + "intermediate.dense", s.intermediate, s.hidden);
    linear(layer + "output.dense", s.hidden, s.intermediate);
    norm(layer + "output.LayerNorm");
  }
  linear("pooler.dense", s.hidden, s.hidden);
  return tensors;
}

std::vector<TensorInfo> llama_tensors(const CheckpointSpec& s, Dtype dtype) {
  std::vector<TensorInfo> tensors;
  auto add = [&](std::string name, std::vector<std::int64_t> shape) {
    tensors.push_back({std::move(name), dtype, std::move(shape)});
  };
  add("model.embed_tokens.weight", {s.vocab, s.hidden});
  for (std::int64_t i = 0; i < s.layers; ++i) {
    std::string layer = fmt::format("model.layers.{}.", i);
    add(layer + "input_layernorm.weight", {s.hidden});
    for (const auto& [part, sharing] : {std::pair{"q_proj", std::int64_t{1}},
                                        {"k_proj", s.sharing},
                                        {"v_proj", s.sharing},
                                        {"o_proj", 1}})
      add(layer + "self_attn." + part + ".weight", {s.hidden / sharing, s.hidden});
    add(layer + "post_attention_layernorm.weight", {s.hidden});
    add(layer + "mlp.gate_proj.weight", {s.intermediate, s.hidden});
    add(layer + "mlp.up_proj.weight", {s.intermediate, s.hidden});
    add(layer + "mlp.down_proj.weight", {s.hidden, s.intermediate});
  }
  add("model.norm.weight", {s.hidden});
  add("lm_head.weight", {s.vocab, s.hidden});
  return tensors;
}

Json config(const CheckpointSpec& s) {
  std::string torch_dtype = s.dtype == "F32"   ? "float32"
                            : s.dtype == "F16" ? "float16"
                                               : "bfloat16";
  std::int64_t head = s.hidden % 64 == 0 ? 64 : s.hidden;
  Json json;
  if (s.preset == "llama") {
    json = {{"architectures", {"LlamaForCausalLM"}},
            {"model_type", "llama"},
            {"hidden_act", "silu"},
            {"rms_norm_eps", 1e-5},
            {"tie_word_embeddings", false},
            {"num_key_value_heads", s.hidden / head / s.sharing}};
  } else {
    json = {{"architectures", {"BertModel"}},
            {"model_type", "bert"},
            {"hidden_act", "gelu"},
            {"layer_norm_eps", 1e-12},
            {"type_vocab_size", 2}};
    head = 32;
  }
  json.update({{"hidden_size", s.hidden},
               {"intermediate_size", s.intermediate},
               {"num_attention_heads", s.hidden / head},
               {"num_hidden_layers", s.layers},
               {"max_position_embeddings", s.preset == "llama" ? 2048 : 512},
               {"vocab_size", s.vocab},
               {"torch_dtype", torch_dtype},
               {"coppice_note", "generated: random weights, good for nothing but tests"}});
  return json;
}

// Nearly normal numbers, fast: the sum of four uniform ones (splitmix64 by Steele et al.).
class Normal {
 public:
  explicit Normal(std::uint64_t seed) : state_(seed) {}
  float operator()() {
    std::uint64_t z = (state_ += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    z ^= z >> 31;
    auto sum = static_cast<std::int32_t>((z & 0xffff) + (z >> 16 & 0xffff) + (z >> 32 & 0xffff) +
                                         (z >> 48));
    return static_cast<float>(sum - 2 * 65535) * (1.0f / 37837.2f);  // standard deviation 1
  }

 private:
  std::uint64_t state_;
};

void write_shard(const fs::path& path, const std::vector<TensorInfo>& tensors, std::uint64_t seed) {
  SafetensorsWriter writer(path, tensors, {{"format", "pt"}});
  std::vector<float> values(1 << 18);
  std::vector<std::byte> bytes(values.size() * sizeof(float));
  for (std::size_t t = 0; t < tensors.size(); ++t) {
    const TensorInfo& tensor = tensors[t];
    Normal normal(seed + t);
    bool matrix = tensor.shape.size() == 2;
    float scale = matrix ? 1 / std::sqrt(static_cast<float>(tensor.shape[1])) : 0.02f;
    float centre = tensor.name.ends_with("orm.weight") ? 1.0f : 0.0f;
    for (std::int64_t left = element_count(tensor); left > 0;) {
      auto piece = static_cast<std::size_t>(std::min<std::int64_t>(left, std::ssize(values)));
      for (std::size_t i = 0; i < piece; ++i) values[i] = centre + scale * normal();
      from_float(tensor.dtype, std::span(values).first(piece), bytes.data());
      auto size = piece * static_cast<std::size_t>(dtype_bytes(tensor.dtype));
      writer.append(t, std::span(bytes).first(size));
      left -= static_cast<std::int64_t>(piece);
    }
  }
  writer.commit();
}

}  // namespace

std::string write_checkpoint(const CheckpointSpec& spec) {
  auto dtype = parse_dtype(spec.dtype);
  if (!dtype) throw InvalidArgument("--dtype: F32, F16 or BF16");
  auto tensors = spec.preset == "llama" ? llama_tensors(spec, *dtype) : bert_tensors(spec, *dtype);
  std::vector<std::vector<TensorInfo>> shards(1);
  double total = 0, filled = 0;
  for (auto& tensor : tensors) {
    auto bytes = static_cast<double>(byte_count(tensor));
    if (filled > 0 && filled + bytes > spec.shard_gigabytes * 1e9) {
      shards.emplace_back();
      filled = 0;
    }
    filled += bytes;
    total += bytes;
    shards.back().push_back(std::move(tensor));
  }
  fs::path directory = spec.directory;
  fs::create_directories(directory);
  Json map = Json::object();
  for (std::size_t i = 0; i < shards.size(); ++i) {
    std::string name = shards.size() == 1
                           ? "model.safetensors"
                           : fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, shards.size());
    write_shard(directory / name, shards[i], spec.seed + 100000 * i);
    for (const auto& tensor : shards[i]) map[tensor.name] = name;
  }
  if (shards.size() > 1) {
    Json index = {{"metadata", {{"total_size", static_cast<std::int64_t>(total)}}},
                  {"weight_map", map}};
    std::ofstream(directory / "model.safetensors.index.json") << index.dump(2) << "\n";
  }
  std::ofstream(directory / "config.json") << config(spec).dump(2) << "\n";
  return fmt::format("{}: {:.2f} GB in {} file(s), {}, random weights", spec.directory, total / 1e9,
                     shards.size(), spec.dtype);
}

}  // namespace coppice::test
