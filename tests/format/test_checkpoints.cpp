#include "format/test_checkpoints.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <random>
#include <utility>

namespace coppice::testing {
namespace {

namespace fs = std::filesystem;

std::vector<std::byte> random_data(const TensorInfo& tensor, std::mt19937& engine) {
  std::vector<std::byte> data(static_cast<std::size_t>(byte_count(tensor)));
  if (is_weight_dtype(tensor.dtype)) {
    std::normal_distribution<float> normal(0, 1);
    std::vector<float> values(static_cast<std::size_t>(element_count(tensor)));
    // Nothing that rounds to -0: the compressed form gives +0 where a zero is not kept.
    for (float& value : values)
      value = std::max(std::fabs(normal(engine)), 0.01f) * (engine() & 1 ? 1 : -1);
    from_float(tensor.dtype, values, data.data());
  } else {
    for (std::byte& byte : data) byte = static_cast<std::byte>(engine());
  }
  return data;
}

std::string shard_name(std::size_t shard, std::size_t count) {
  return count == 1 ? "model.safetensors"
                    : fmt::format("model-{:05}-of-{:05}.safetensors", shard + 1, count);
}

void write_index(const TestModel& model, const fs::path& directory) {
  nlohmann::json index = {{"metadata", {{"total_size", 0}}},
                          {"weight_map", nlohmann::json::object()}};
  std::int64_t total = 0;
  for (std::size_t shard = 0; shard < model.shards.size(); ++shard) {
    for (const TensorInfo& tensor : model.shards[shard]) {
      index["weight_map"][tensor.name] = shard_name(shard, model.shards.size());
      total += byte_count(tensor);
    }
  }
  index["metadata"]["total_size"] = total;
  write_file(directory / "model.safetensors.index.json", index.dump(2) + "\n");
}

}  // namespace

TestModel bert_like(Dtype dtype) {
  std::vector<TensorInfo> tensors = {
      {"embeddings.word_embeddings.weight", dtype, {40, 24}},
      {"embeddings.position_embeddings.weight", dtype, {16, 24}},
      {"embeddings.LayerNorm.weight", dtype, {24}},
      {"embeddings.position_ids", Dtype::i64, {1, 16}},
  };
  for (int layer = 0; layer < 2; ++layer) {
    auto name = [&](const char* rest) { return fmt::format("encoder.layer.{}.{}", layer, rest); };
    for (const char* part : {"attention.self.query", "attention.self.key", "attention.self.value",
                             "attention.output.dense"}) {
      tensors.push_back({name(part) + ".weight", dtype, {24, 24}});
      tensors.push_back({name(part) + ".bias", dtype, {24}});
    }
    tensors.push_back({name("intermediate.dense.weight"), dtype, {48, 24}});
    tensors.push_back({name("output.dense.weight"), dtype, {24, 48}});
    tensors.push_back({name("output.LayerNorm.weight"), dtype, {24}});
  }
  tensors.push_back({"pooler.dense.weight", dtype, {24, 24}});
  tensors.push_back({"classifier.weight", dtype, {3, 24}});
  return {R"({"architectures": ["BertModel"], "hidden_size": 24, "layer_norm_eps": 1e-12,
 "model_type": "bert", "num_attention_heads": 2})",
          {std::move(tensors)}};
}

TestModel gpt2_like(Dtype dtype) {
  std::vector<TensorInfo> tensors = {{"wte.weight", dtype, {50, 24}},
                                     {"wpe.weight", dtype, {16, 24}}};
  for (int layer = 0; layer < 2; ++layer) {
    auto name = [&](const char* rest) { return fmt::format("h.{}.{}", layer, rest); };
    tensors.push_back({name("attn.bias"), Dtype::f32, {1, 1, 16, 16}});
    tensors.push_back({name("attn.c_attn.weight"), dtype, {24, 72}});
    tensors.push_back({name("attn.c_attn.bias"), dtype, {72}});
    tensors.push_back({name("attn.c_proj.weight"), dtype, {24, 24}});
    tensors.push_back({name("mlp.c_fc.weight"), dtype, {24, 96}});
    tensors.push_back({name("mlp.c_proj.weight"), dtype, {96, 24}});
    tensors.push_back({name("ln_1.weight"), dtype, {24}});
  }
  return {R"({"model_type": "gpt2", "n_embd": 24, "n_head": 2})", {std::move(tensors)}};
}

TestModel llama_like(Dtype dtype) {
  TestModel model{R"({"model_type": "llama", "hidden_size": 32, "num_attention_heads": 4,
 "num_key_value_heads": 2, "tie_word_embeddings": false})",
                  {{{"model.embed_tokens.weight", dtype, {40, 32}}}, {}}};
  for (std::size_t layer = 0; layer < 2; ++layer) {
    auto add = [&](const char* rest, std::vector<std::int64_t> shape) {
      model.shards[layer].push_back(
          {fmt::format("model.layers.{}.{}", layer, rest), dtype, std::move(shape)});
    };
    add("self_attn.q_proj.weight", {32, 32});
    add("self_attn.k_proj.weight", {16, 32});
    add("self_attn.v_proj.weight", {16, 32});
    add("self_attn.o_proj.weight", {32, 32});
    add("mlp.gate_proj.weight", {88, 32});
    add("mlp.up_proj.weight", {88, 32});
    add("mlp.down_proj.weight", {32, 88});
    add("input_layernorm.weight", {32});
  }
  model.shards[1].push_back({"lm_head.weight", dtype, {40, 32}});
  return model;
}

TestModel mixtral_like(Dtype dtype) {
  TestModel model{R"({"model_type": "mixtral", "hidden_size": 16, "num_attention_heads": 2,
 "num_local_experts": 4, "tie_word_embeddings": false})",
                  {{{"model.embed_tokens.weight", dtype, {24, 16}}}, {}}};
  for (std::size_t layer = 0; layer < 2; ++layer) {
    auto add = [&](const char* rest, std::vector<std::int64_t> shape) {
      model.shards[layer].push_back(
          {fmt::format("model.layers.{}.{}", layer, rest), dtype, std::move(shape)});
    };
    add("self_attn.q_proj.weight", {16, 16});
    add("mlp.gate.weight", {4, 16});
    add("mlp.experts.gate_up_proj", {4, 40, 16});
    add("mlp.experts.down_proj", {4, 16, 20});
    add("input_layernorm.weight", {16});
  }
  return model;
}

TestModel phi3_like(Dtype dtype) {
  return {R"({"model_type": "phi3", "hidden_size": 32, "num_attention_heads": 4,
 "num_key_value_heads": 2})",
          {{{"model.embed_tokens.weight", dtype, {40, 32}},
            {"model.layers.0.self_attn.qkv_proj.weight", dtype, {64, 32}},
            {"model.layers.0.self_attn.o_proj.weight", dtype, {32, 32}},
            {"model.layers.0.mlp.gate_up_proj.weight", dtype, {96, 32}},
            {"model.layers.0.mlp.down_proj.weight", dtype, {32, 48}},
            {"lm_head.weight", dtype, {40, 32}}}}};
}

void write_tensors(const fs::path& file, const std::vector<TensorInfo>& tensors, unsigned seed) {
  std::mt19937 engine(seed);
  SafetensorsWriter writer(file, tensors, {{"format", "pt"}});
  for (std::size_t i = 0; i < tensors.size(); ++i)
    writer.append(i, random_data(tensors[i], engine));
  writer.commit();
}

void write_model(const TestModel& model, const fs::path& directory, unsigned seed) {
  fs::create_directories(directory / "1_Pooling");
  write_file(directory / "config.json", model.config);
  write_file(directory / "tokenizer.json", R"({"version": "1.0"})");
  write_file(directory / "1_Pooling" / "config.json", R"({"pooling_mode_mean_tokens": true})");
  for (std::size_t shard = 0; shard < model.shards.size(); ++shard)
    write_tensors(directory / shard_name(shard, model.shards.size()), model.shards[shard],
                  seed * 1000 + static_cast<unsigned>(shard));
  if (model.shards.size() > 1) write_index(model, directory);
}

std::map<std::string, std::string> read_tree(const fs::path& directory) {
  std::map<std::string, std::string> files;
  for (const auto& entry : fs::recursive_directory_iterator(directory))
    if (entry.is_regular_file())
      files[fs::relative(entry.path(), directory).string()] = read_file(entry.path());
  return files;
}

}  // namespace coppice::testing
