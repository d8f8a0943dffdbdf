#include "format/checkpoint_roles.h"

#include <fmt/format.h>
#include <fnmatch.h>

#include <algorithm>
#include <string>

#include "coppice/error.h"
#include "format/safetensors_header.h"

namespace coppice {
namespace {

// How the rows of a fused projection are cut. Layouts that interleave q, k and v head by head
// (GPT-NeoX, BLOOM, Falcon, InternLM2) or gate and up row by row (gpt-oss) have no rows to cut at.
enum class Fusion : std::uint8_t { none, qkv, halves };

// How a tensor lies in memory.
enum class Storage : std::uint8_t {
  linear,              // [out, in]
  conv1d,              // [in, out]
  stacked,             // [n, out, in]
  stacked_transposed,  // [n, in, out]
};

struct RoleRule {
  const char* glob;  // over "." + tensor name, so that "*.x.*" finds whole components anywhere
  TensorRole role;
  Storage storage = Storage::linear;
  Fusion fusion = Fusion::none;
  const char* model_types = "";  // space-separated; empty: all
};

constexpr const char* kConv1dModels = "gpt2 openai-gpt imagegpt decision_transformer";
constexpr const char* kTransposedExperts = "gpt_oss llama4 llama4_text";

// The one table. The first rule whose glob, dimensions and model type fit decides; what no rule
// takes is `other`. Names of the exceptions come first: a projection is what is left.
constexpr RoleRule kRules[] = {
    // Routers of mixtures of experts: Mixtral, Qwen-MoE, DeepSeek, Switch, gpt-oss.
    {"*.gate.weight", TensorRole::router},
    {"*.router.*", TensorRole::router},
    {"*.shared_expert_gate.weight", TensorRole::router},
    {"*.gate.wg.weight", TensorRole::router},
    // Heads. BERT and RoBERTa: cls, lm_head.dense, qa_outputs; DistilBERT: vocab_*, pre_classifier;
    // GPT-NeoX: embed_out; ViT: classifier, head; OPT-350m: project_in/out around the layers.
    {"*.embed_out.weight", TensorRole::head},
    {"*.lm_head.*", TensorRole::head},
    {"*_head.*", TensorRole::head},
    {"*.head.*", TensorRole::head},
    {"*.score.*", TensorRole::head},
    {"*classifier.*", TensorRole::head},
    {"*.cls.*", TensorRole::head},
    {"*_predictions.*", TensorRole::head},
    {"*.qa_outputs.*", TensorRole::head},
    {"*.vocab_projector.*", TensorRole::head},
    {"*.vocab_transform.*", TensorRole::head},
    {"*.project_in.*", TensorRole::head},
    {"*.project_out.*", TensorRole::head},
    {"*.proj_out.weight", TensorRole::head},
    {"*.text_projection.*", TensorRole::head},
    {"*.visual_projection.*", TensorRole::head},
    {".output.weight", TensorRole::head},
    {".model.output.weight", TensorRole::head},
    {"*pooler.*", TensorRole::pooler},
    // Embeddings: token, position and type tables of every family; T5's shared table and its
    // relative positions; GPT-2's wte and wpe.
    {"*embed*", TensorRole::embedding},
    {"*.wte.*", TensorRole::embedding},
    {"*.wpe.*", TensorRole::embedding},
    {"*.shared.weight", TensorRole::embedding},
    {"*.relative_attention_bias.*", TensorRole::embedding},
    {"*norm*", TensorRole::other},
    {"*.lora_*", TensorRole::other},
    // Experts in one tensor: Mixtral, Qwen-MoE and others as transformers 5 keeps them, Granite.
    {"*.experts.gate_up_proj", TensorRole::linear, Storage::stacked_transposed, Fusion::none,
     "gpt_oss"},
    {"*.experts.gate_up_proj", TensorRole::linear, Storage::stacked_transposed, Fusion::halves,
     kTransposedExperts},
    {"*.experts.*", TensorRole::linear, Storage::stacked_transposed, Fusion::none,
     kTransposedExperts},
    {"*.experts.gate_up_proj*", TensorRole::linear, Storage::stacked, Fusion::halves},
    {"*.experts.*", TensorRole::linear, Storage::stacked},
    {"*_moe.input_linear.weight", TensorRole::linear, Storage::stacked, Fusion::halves},
    {"*_moe.output_linear.weight", TensorRole::linear, Storage::stacked},
    // GPT-2's Conv1D.
    {"*.c_attn.weight", TensorRole::linear, Storage::conv1d, Fusion::qkv, kConv1dModels},
    {"*.q_attn.weight", TensorRole::linear, Storage::conv1d, Fusion::none, kConv1dModels},
    {"*.c_proj.weight", TensorRole::linear, Storage::conv1d, Fusion::none, kConv1dModels},
    {"*.c_fc.weight", TensorRole::linear, Storage::conv1d, Fusion::none, kConv1dModels},
    // Fused q, k, v: GPT-BigCode and Qwen 1, Phi-3, MPT and ModernBERT, Baichuan, timm's ViT,
    // nn.MultiheadAttention, ChatGLM.
    {"*.c_attn.weight", TensorRole::linear, Storage::linear, Fusion::qkv},
    {"*.qkv_proj.weight", TensorRole::linear, Storage::linear, Fusion::qkv},
    {"*.Wqkv.weight", TensorRole::linear, Storage::linear, Fusion::qkv},
    {"*.W_pack.weight", TensorRole::linear, Storage::linear, Fusion::qkv},
    {"*.qkv.weight", TensorRole::linear, Storage::linear, Fusion::qkv},
    {"*.in_proj_weight", TensorRole::linear, Storage::linear, Fusion::qkv},
    {"*.query_key_value.weight", TensorRole::linear, Storage::linear, Fusion::qkv, "chatglm"},
    {"*.dense_h_to_4h.weight", TensorRole::linear, Storage::linear, Fusion::halves, "chatglm"},
    // Fused gate and up: Phi-3, ModernBERT.
    {"*.gate_up_proj.weight", TensorRole::linear, Storage::linear, Fusion::halves},
    {"*.mlp.Wi.weight", TensorRole::linear, Storage::linear, Fusion::halves, "modernbert"},
    // Every other projection: query/key/value/dense (BERT, RoBERTa, ViT), q_lin...lin2
    // (DistilBERT),
    // q_proj...down_proj (Llama, Mistral, Qwen, Gemma, Phi), fc1/fc2 (OPT, Phi), query_key_value
    // and
    // dense_h_to_4h (GPT-NeoX), q/k/v/o/wi/wo (T5), w1/w2/w3 (Mixtral).
    {"*.weight", TensorRole::linear},
};

// Output matrices that transformers ties to the token embeddings.
constexpr const char* kTiedHeads[] = {
    "*lm_head.weight",          "*lm_head.decoder.weight",
    "*.embed_out.weight",       "*.cls.predictions.decoder.weight",
    "*.vocab_projector.weight", "*.proj_out.weight"};

bool is_stacked(Storage storage) {
  return storage == Storage::stacked || storage == Storage::stacked_transposed;
}

bool contains_word(std::string_view words, std::string_view word) {
  return !word.empty() &&
         fmt::format(" {} ", words).find(fmt::format(" {} ", word)) != std::string::npos;
}

const RoleRule* find_rule(const TensorInfo& tensor, const ModelConfig& config) {
  const std::string name = "." + tensor.name;
  for (const RoleRule& rule : kRules) {
    if (tensor.shape.size() != (is_stacked(rule.storage) ? 3u : 2u)) continue;
    if (*rule.model_types != '\0' && !contains_word(rule.model_types, config.model_type)) continue;
    if (glob_matches(rule.glob, name)) return &rule;
  }
  return nullptr;
}

bool is_tied_head(const TensorInfo& tensor, const ModelConfig& config) {
  const std::string name = "." + tensor.name;
  return config.tied_embeddings && std::ranges::any_of(kTiedHeads, [&](const char* glob) {
           return glob_matches(glob, name);
         });
}

std::vector<std::int64_t> row_segments(Fusion fusion, std::int64_t rows, const ModelConfig& c) {
  if (fusion == Fusion::halves && rows % 2 == 0) return {rows / 2, rows / 2};
  if (fusion != Fusion::qkv) return {};
  const std::int64_t q = c.heads * c.head_dim, kv = c.kv_heads * c.head_dim;
  if (q > 0 && kv > 0 && q + 2 * kv == rows) return {q, kv, kv};
  if (rows % 3 == 0) return {rows / 3, rows / 3, rows / 3};
  return {};
}

bool is_prunable(TensorRole role) {
  return role == TensorRole::linear || role == TensorRole::head || role == TensorRole::pooler ||
         role == TensorRole::router;
}

// The role of a tensor of any dtype.
TensorRole role_by_name(const TensorInfo& tensor, const ModelConfig& config) {
  const RoleRule* rule = find_rule(tensor, config);
  if (!rule) return TensorRole::other;
  if (rule->role == TensorRole::embedding) return rule->role;
  const bool weight =
      is_stacked(rule->storage) ? !tensor.name.ends_with("bias") : tensor.name.ends_with("weight");
  if (!weight || element_count(tensor) == 0) return TensorRole::other;
  if (rule->role == TensorRole::head && is_tied_head(tensor, config)) return TensorRole::tied_head;
  return rule->role;
}

bool matches_any(const std::vector<std::string>& globs, const std::string& name) {
  return std::ranges::any_of(globs, [&](const std::string& g) { return glob_matches(g, name); });
}

// A glob that does nothing is most likely a typing error, which would change what is pruned.
void check_globs(std::span<const CheckpointTensor> tensors, const WeightSelection& selection) {
  auto check = [&](const std::string& glob, bool include) {
    const CheckpointTensor* refused = nullptr;
    for (const CheckpointTensor& t : tensors) {
      if (!glob_matches(glob, t.name)) continue;
      if (!include || is_prunable(t.role)) return;
      refused = &t;
    }
    const char* kind = include ? "include" : "exclude";
    if (!refused)
      throw InvalidArgument(fmt::format(
          "{} '{}' matches no tensor name; `coppice inspect` lists them", kind, printable(glob)));
    throw InvalidArgument(fmt::format(
        "include '{}' matches only tensors that cannot be pruned, such "
        "as '{}' ({})",
        printable(glob), printable(refused->name),
        refused->left_for_dtype ? dtype_name(refused->dtype) : role_name(refused->role)));
  };
  for (const std::string& glob : selection.include) check(glob, true);
  for (const std::string& glob : selection.exclude) check(glob, false);
}

}  // namespace

std::string_view role_name(TensorRole role) {
  switch (role) {
    case TensorRole::linear:
      return "linear";
    case TensorRole::head:
      return "head";
    case TensorRole::pooler:
      return "pooler";
    case TensorRole::router:
      return "router";
    case TensorRole::tied_head:
      return "tied head";
    case TensorRole::embedding:
      return "embedding";
    case TensorRole::other:
      break;
  }
  return "other";
}

bool glob_matches(const std::string& glob, const std::string& text) {
  return fnmatch(glob.c_str(), text.c_str(), 0) == 0;
}

TensorRole tensor_role(const TensorInfo& tensor, const ModelConfig& config) {
  const TensorRole role = role_by_name(tensor, config);
  return role == TensorRole::embedding || is_weight_dtype(tensor.dtype) ? role : TensorRole::other;
}

bool is_left_for_dtype(const TensorInfo& tensor, const ModelConfig& config) {
  return !is_weight_dtype(tensor.dtype) && is_prunable(role_by_name(tensor, config));
}

std::vector<LinearWeight> weights_of(const CheckpointTensor& tensor, const ModelConfig& config) {
  const RoleRule& rule = *find_rule(tensor, config);
  LinearWeight weight;
  weight.name = weight.tensor = tensor.name;
  weight.role = tensor.role;
  weight.dtype = tensor.dtype;
  weight.transposed =
      rule.storage == Storage::conv1d || rule.storage == Storage::stacked_transposed;
  weight.stacked = is_stacked(rule.storage);
  if (weight.stacked) weight.count = tensor.shape[0];
  const std::size_t axis = weight.stacked ? 1 : 0;
  weight.shape.rows = tensor.shape[axis + (weight.transposed ? 1 : 0)];
  weight.shape.cols = tensor.shape[axis + (weight.transposed ? 0 : 1)];
  weight.shape.row_segments = row_segments(rule.fusion, weight.shape.rows, config);

  std::vector<LinearWeight> weights(static_cast<std::size_t>(weight.count), weight);
  if (weight.stacked)
    for (std::size_t i = 0; i < weights.size(); ++i) {
      weights[i].index = static_cast<std::int64_t>(i);
      weights[i].name = fmt::format("{}.{}", tensor.name, i);
    }
  return weights;
}

std::vector<const CheckpointTensor*> select_tensors(std::span<const CheckpointTensor> tensors,
                                                    const WeightSelection& selection) {
  check_globs(tensors, selection);
  std::vector<const CheckpointTensor*> chosen;
  for (const CheckpointTensor& t : tensors) {
    const bool wanted = selection.include.empty()
                            ? t.role == TensorRole::linear
                            : is_prunable(t.role) && matches_any(selection.include, t.name);
    if (wanted && !matches_any(selection.exclude, t.name)) chosen.push_back(&t);
  }
  return chosen;
}

}  // namespace coppice
