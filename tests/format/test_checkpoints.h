// Small checkpoints of every kind of architecture, for the tests of the library and of the command
// line.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "coppice/safetensors.h"
#include "files.h"

namespace coppice::testing {

/// A model to write: tensors by file, and its config.json.
struct TestModel {
  std::string config;                           ///< text of config.json
  std::vector<std::vector<TensorInfo>> shards;  ///< one: model.safetensors; more: with an index
};

/// Encoder of 2 layers, hidden 24, intermediate 48, with pooler and a classification head.
TestModel bert_like(Dtype dtype = Dtype::f32);
/// Decoder of 2 layers with Conv1D weights, hidden 24; heads tied and absent.
TestModel gpt2_like(Dtype dtype = Dtype::f32);
/// Decoder of 2 layers in 2 shards, hidden 32, 4 heads, 2 kv heads; an lm_head of its own.
TestModel llama_like(Dtype dtype = Dtype::bf16);
/// Mixture of 4 experts stacked in one tensor a layer, 2 layers, hidden 16, 2 shards.
TestModel mixtral_like(Dtype dtype = Dtype::bf16);
/// Decoder of 1 layer with fused qkv_proj (4 heads, 2 kv heads) and gate_up_proj.
TestModel phi3_like(Dtype dtype = Dtype::f16);

/// Writes the model with finite random weights (the same for the same seed), and a tokenizer.json
/// and a folder 1_Pooling beside it.
void write_model(const TestModel& model, const std::filesystem::path& directory, unsigned seed = 1);

/// Writes one safetensors file of such weights, with the metadata {"format": "pt"}.
void write_tensors(const std::filesystem::path& file, const std::vector<TensorInfo>& tensors,
                   unsigned seed = 1);

/// Every file below a directory, by its relative path: its bytes.
std::map<std::string, std::string> read_tree(const std::filesystem::path& directory);

}  // namespace coppice::testing
