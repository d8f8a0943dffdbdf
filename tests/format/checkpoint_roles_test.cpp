// Which tensors are linear weights, family by family, and how they map to weights.
#include "format/checkpoint_roles.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "coppice/error.h"

namespace coppice {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

ModelConfig config_of(const std::string& json) {
  return model_config(parse_json_object(json, "test"));
}

CheckpointTensor make(const std::string& name, std::vector<std::int64_t> shape,
                      const ModelConfig& config, Dtype dtype = Dtype::f32) {
  CheckpointTensor tensor;
  tensor.name = name;
  tensor.dtype = dtype;
  tensor.shape = std::move(shape);
  tensor.role = tensor_role(tensor, config);
  return tensor;
}

struct Named {
  const char* model_type;
  const char* name;
  TensorRole role;
};

// Names as they stand in published checkpoints.
constexpr Named kNamed[] = {
    {"bert", "bert.encoder.layer.0.attention.self.query.weight", TensorRole::linear},
    {"bert", "encoder.layer.11.attention.output.dense.weight", TensorRole::linear},
    {"bert", "encoder.layer.0.intermediate.dense.weight", TensorRole::linear},
    {"bert", "bert.embeddings.word_embeddings.weight", TensorRole::embedding},
    {"bert", "embeddings.token_type_embeddings.weight", TensorRole::embedding},
    {"bert", "bert.pooler.dense.weight", TensorRole::pooler},
    {"bert", "pooler.dense.weight", TensorRole::pooler},
    {"bert", "cls.predictions.transform.dense.weight", TensorRole::head},
    {"bert", "cls.predictions.decoder.weight", TensorRole::tied_head},
    {"bert", "cls.seq_relationship.weight", TensorRole::head},
    {"bert", "classifier.weight", TensorRole::head},
    {"bert", "qa_outputs.weight", TensorRole::head},
    {"roberta", "roberta.encoder.layer.3.output.dense.weight", TensorRole::linear},
    {"roberta", "lm_head.dense.weight", TensorRole::head},
    {"roberta", "lm_head.decoder.weight", TensorRole::tied_head},
    {"roberta", "classifier.out_proj.weight", TensorRole::head},
    {"distilbert", "distilbert.transformer.layer.0.attention.q_lin.weight", TensorRole::linear},
    {"distilbert", "distilbert.transformer.layer.0.ffn.lin1.weight", TensorRole::linear},
    {"distilbert", "pre_classifier.weight", TensorRole::head},
    {"distilbert", "vocab_transform.weight", TensorRole::head},
    {"vit", "vit.encoder.layer.0.attention.attention.query.weight", TensorRole::linear},
    {"vit", "vit.embeddings.patch_embeddings.projection.weight", TensorRole::embedding},
    {"deit", "deit.encoder.layer.2.intermediate.dense.weight", TensorRole::linear},
    {"deit", "distillation_classifier.weight", TensorRole::head},
    {"", "blocks.0.attn.qkv.weight", TensorRole::linear},
    {"", "head.weight", TensorRole::head},
    {"gpt2", "wte.weight", TensorRole::embedding},
    {"gpt2", "transformer.wpe.weight", TensorRole::embedding},
    {"gpt2", "h.0.attn.c_attn.weight", TensorRole::linear},
    {"gpt2", "transformer.h.0.mlp.c_proj.weight", TensorRole::linear},
    {"gpt_neox", "gpt_neox.embed_in.weight", TensorRole::embedding},
    {"gpt_neox", "gpt_neox.layers.0.attention.query_key_value.weight", TensorRole::linear},
    {"gpt_neox", "gpt_neox.layers.0.mlp.dense_h_to_4h.weight", TensorRole::linear},
    {"gpt_neox", "embed_out.weight", TensorRole::tied_head},
    {"opt", "model.decoder.layers.0.self_attn.out_proj.weight", TensorRole::linear},
    {"opt", "model.decoder.layers.0.fc1.weight", TensorRole::linear},
    {"opt", "model.decoder.embed_positions.weight", TensorRole::embedding},
    {"opt", "model.decoder.project_in.weight", TensorRole::head},
    {"llama", "model.layers.0.self_attn.q_proj.weight", TensorRole::linear},
    {"llama", "model.layers.0.mlp.gate_proj.weight", TensorRole::linear},
    {"mistral", "model.layers.31.mlp.down_proj.weight", TensorRole::linear},
    {"qwen2", "model.layers.0.mlp.up_proj.weight", TensorRole::linear},
    {"gemma2", "model.embed_tokens.weight", TensorRole::embedding},
    {"gemma2", "lm_head.weight", TensorRole::tied_head},
    {"phi", "model.layers.0.self_attn.dense.weight", TensorRole::linear},
    {"llama", "score.weight", TensorRole::head},
    {"qwen2_moe", "model.layers.0.mlp.gate.weight", TensorRole::router},
    {"qwen2_moe", "model.layers.0.mlp.shared_expert_gate.weight", TensorRole::router},
    {"qwen2_moe", "model.layers.0.mlp.experts.7.down_proj.weight", TensorRole::linear},
    {"mixtral", "model.layers.0.block_sparse_moe.gate.weight", TensorRole::router},
    {"mixtral", "model.layers.0.block_sparse_moe.experts.0.w1.weight", TensorRole::linear},
    {"gpt_oss", "model.layers.0.mlp.router.weight", TensorRole::router},
    {"t5", "shared.weight", TensorRole::embedding},
    {"t5", "encoder.block.0.layer.0.SelfAttention.q.weight", TensorRole::linear},
    {"t5", "decoder.block.0.layer.1.EncDecAttention.o.weight", TensorRole::linear},
    {"t5", "encoder.block.0.layer.1.DenseReluDense.wi_0.weight", TensorRole::linear},
    {"t5", "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
     TensorRole::embedding},
    {"unknown", "some.new.thing.weight", TensorRole::linear},
    {"unknown", "some.table", TensorRole::other},
    {"bert", "encoder.layer.0.intermediate.dense.weight.values", TensorRole::other},
    {"bert", "pooler.dense.weight.values", TensorRole::other},
    {"llama", "model.layers.0.self_attn.q_proj.lora_A.weight", TensorRole::other},
};

TEST(CheckpointRoles, NamesOfPublishedFamilies) {
  for (const Named& named : kNamed) {
    ModelConfig config;
    config.model_type = named.model_type;
    EXPECT_EQ(role_name(make(named.name, {32, 64}, config).role), role_name(named.role))
        << named.name;
  }
}

TEST(CheckpointRoles, DimensionsAndDtypesDecideAsWell) {
  const ModelConfig config;
  EXPECT_EQ(make("a.weight", {32}, config).role, TensorRole::other);
  EXPECT_EQ(make("a.weight", {32, 3, 16, 16}, config).role, TensorRole::other);
  EXPECT_EQ(make("conv.weight", {32, 80, 3}, config).role, TensorRole::other);
  EXPECT_EQ(make("a.weight", {0, 3}, config).role, TensorRole::other);
  EXPECT_EQ(make("a.weight", {2, 3}, config, Dtype::f64).role, TensorRole::other);
  EXPECT_EQ(make("a.weight", {2, 3}, config, Dtype::i32).role, TensorRole::other);
  EXPECT_EQ(make("a.weight", {2, 3}, config, Dtype::f8_e4m3).role, TensorRole::linear);
}

TEST(CheckpointRoles, HeadsAreTiedUnlessTheConfigSaysNo) {
  EXPECT_EQ(make("lm_head.weight", {9, 4}, config_of(R"({"tie_word_embeddings":false})")).role,
            TensorRole::head);
  EXPECT_EQ(make("lm_head.weight", {9, 4}, config_of(R"({"tie_word_embeddings":true})")).role,
            TensorRole::tied_head);
  EXPECT_EQ(make("lm_head.weight", {9, 4}, config_of("{}")).role, TensorRole::tied_head);
}

LinearWeight only_weight(const std::string& name, std::vector<std::int64_t> shape,
                         const ModelConfig& config) {
  const std::vector<LinearWeight> weights =
      weights_of(make(name, std::move(shape), config), config);
  EXPECT_EQ(weights.size(), 1u);
  return weights.at(0);
}

TEST(CheckpointRoles, Conv1dIsTransposedInGpt2Only) {
  const ModelConfig gpt2 = config_of(R"({"model_type":"gpt2","n_embd":8,"n_head":2})");
  const LinearWeight attention = only_weight("h.0.attn.c_attn.weight", {8, 24}, gpt2);
  EXPECT_TRUE(attention.transposed);
  EXPECT_EQ(attention.shape, (WeightShape{24, 8, {8, 8, 8}, {}}));
  const LinearWeight fc = only_weight("h.0.mlp.c_fc.weight", {8, 32}, gpt2);
  EXPECT_EQ(fc.shape, (WeightShape{32, 8, {}, {}}));

  const ModelConfig code =
      config_of(R"({"model_type":"gpt_bigcode","n_embd":8,"n_head":2,"multi_query":true})");
  const LinearWeight multi_query = only_weight("transformer.h.0.attn.c_attn.weight", {16, 8}, code);
  EXPECT_FALSE(multi_query.transposed);
  EXPECT_EQ(multi_query.shape, (WeightShape{16, 8, {8, 4, 4}, {}}));
}

TEST(CheckpointRoles, FusedProjectionsAreCutByTheConfig) {
  const ModelConfig phi = config_of(
      R"({"model_type":"phi3","hidden_size":32,"num_attention_heads":4,"num_key_value_heads":2})");
  EXPECT_THAT(only_weight("a.qkv_proj.weight", {64, 32}, phi).shape.row_segments,
              ElementsAre(32, 16, 16));
  EXPECT_THAT(only_weight("a.gate_up_proj.weight", {96, 32}, phi).shape.row_segments,
              ElementsAre(48, 48));
  EXPECT_THAT(only_weight("a.q_proj.weight", {32, 32}, phi).shape.row_segments, IsEmpty());
  const ModelConfig explicit_dim = config_of(
      R"({"hidden_size":32,"num_attention_heads":4,"num_key_value_heads":1,"head_dim":16})");
  EXPECT_THAT(only_weight("a.qkv_proj.weight", {96, 32}, explicit_dim).shape.row_segments,
              ElementsAre(64, 16, 16));
  const ModelConfig nested =
      config_of(R"({"text_config":{"hidden_size":8,"num_attention_heads":2}})");
  EXPECT_THAT(only_weight("a.Wqkv.weight", {24, 8}, nested).shape.row_segments,
              ElementsAre(8, 8, 8));
  EXPECT_THAT(only_weight("a.qkv.weight", {9, 8}, config_of("{}")).shape.row_segments,
              ElementsAre(3, 3, 3));
  EXPECT_THAT(only_weight("a.qkv.weight", {10, 8}, config_of("{}")).shape.row_segments, IsEmpty());
  const ModelConfig neox = config_of(R"({"model_type":"gpt_neox","hidden_size":8})");
  EXPECT_THAT(only_weight("a.query_key_value.weight", {24, 8}, neox).shape.row_segments, IsEmpty());
}

TEST(CheckpointRoles, StackedExperts) {
  const ModelConfig mixtral = config_of(R"({"model_type":"mixtral"})");
  const CheckpointTensor tensor = make("m.experts.gate_up_proj", {3, 10, 4}, mixtral);
  EXPECT_EQ(tensor.role, TensorRole::linear);
  const std::vector<LinearWeight> weights = weights_of(tensor, mixtral);
  ASSERT_EQ(weights.size(), 3u);
  EXPECT_EQ(weights[2].name, "m.experts.gate_up_proj.2");
  EXPECT_EQ(weights[2].index, 2);
  EXPECT_EQ(weights[2].count, 3);
  EXPECT_FALSE(weights[2].transposed);
  EXPECT_EQ(weights[2].shape, (WeightShape{10, 4, {5, 5}, {}}));

  const ModelConfig llama4 = config_of(R"({"model_type":"llama4_text"})");
  const LinearWeight up =
      weights_of(make("f.experts.gate_up_proj", {3, 4, 10}, llama4), llama4).at(0);
  EXPECT_TRUE(up.transposed);
  EXPECT_EQ(up.shape, (WeightShape{10, 4, {5, 5}, {}}));
  const ModelConfig gpt_oss = config_of(R"({"model_type":"gpt_oss"})");
  EXPECT_THAT(weights_of(make("f.experts.gate_up_proj", {3, 4, 10}, gpt_oss), gpt_oss)
                  .at(0)
                  .shape.row_segments,
              IsEmpty());
  EXPECT_EQ(make("f.experts.gate_up_proj_bias", {3, 10}, gpt_oss).role, TensorRole::other);
  EXPECT_EQ(make("l.block_sparse_moe.input_linear.weight", {3, 10, 4}, mixtral).role,
            TensorRole::linear);
}

std::vector<std::string> chosen(const std::vector<CheckpointTensor>& tensors,
                                const WeightSelection& selection) {
  std::vector<std::string> names;
  for (const CheckpointTensor* tensor : select_tensors(tensors, selection))
    names.push_back(tensor->name);
  return names;
}

TEST(CheckpointRoles, SelectionByGlob) {
  const ModelConfig config;
  const std::vector<CheckpointTensor> tensors = {
      make("embed.weight", {8, 8}, config), make("l.0.q_proj.weight", {8, 8}, config),
      make("l.1.q_proj.weight", {8, 8}, config), make("l.1.up.weight", {8, 8}, config),
      make("score.weight", {8, 8}, config)};
  EXPECT_THAT(chosen(tensors, {}),
              ElementsAre("l.0.q_proj.weight", "l.1.q_proj.weight", "l.1.up.weight"));
  EXPECT_THAT(chosen(tensors, {{"*q_proj*", "score.*"}, {}}),
              ElementsAre("l.0.q_proj.weight", "l.1.q_proj.weight", "score.weight"));
  EXPECT_THAT(chosen(tensors, {{}, {"l.0.*"}}), ElementsAre("l.1.q_proj.weight", "l.1.up.weight"));
  EXPECT_THAT(chosen(tensors, {{"*"}, {"l.[0-9].q*"}}),
              ElementsAre("l.1.up.weight", "score.weight"));
  auto refusal = [&](const WeightSelection& selection) -> std::string {
    try {
      chosen(tensors, selection);
    } catch (const InvalidArgument& error) {
      return error.what();
    }
    return "accepted";
  };
  EXPECT_THAT(refusal({{"*k_proj*"}, {}}), HasSubstr("matches no tensor"));
  EXPECT_THAT(refusal({{}, {"k_proj"}}), HasSubstr("matches no tensor"));
  EXPECT_THAT(refusal({{"embed*"}, {}}), HasSubstr("'embed.weight' (embedding)"));
}

}  // namespace
}  // namespace coppice
