// Which channels of which models can be reordered.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>
#include <string_view>

#include "coppice/error.h"
#include "coppice/permutation_fold.h"
#include "format/checkpoint_impl.h"
#include "format/safetensors_header.h"

namespace coppice {
namespace {

// Part of a fused projection that has the channels.
enum class Part : std::uint8_t { all, halves, v };

struct FoldRule {
  const char* model_types;  // space-separated
  const char* block;        // of the fold's name, behind the prefix of the layer
  const char* producer;     // names behind the prefix, without ".weight"
  const char* second;       // gate or up beside it; empty: none
  const char* consumer;
  Part part = Part::all;
  bool heads = false;       // channels stay inside a head
  bool transposed = false;  // Conv1D, [in, out]
};

constexpr const char* kLlama =
    "llama mistral mixtral qwen2 qwen3 gemma gemma2 gemma3_text phi3 olmo2 smollm3";
constexpr const char* kGatedMlp =
    "llama mistral qwen2 qwen3 gemma gemma2 gemma3_text olmo2 smollm3";
constexpr const char* kBert = "bert roberta xlm-roberta camembert electra";
constexpr const char* kVit = "vit deit dinov2 vit_mae";

// The one table (docs/permutation.md). A model type stands here only if nothing but an element-wise
// function lies between producer and consumer: no norm, no gate of another order, no shared weight.
constexpr FoldRule kRules[] = {
    {kGatedMlp, "mlp", "mlp.up_proj", "mlp.gate_proj", "mlp.down_proj"},
    {"phi3", "mlp", "mlp.gate_up_proj", "", "mlp.down_proj", Part::halves},
    {kBert, "mlp", "intermediate.dense", "", "output.dense"},
    {kVit, "mlp", "intermediate.dense", "", "output.dense"},
    {kVit, "mlp", "mlp.fc1", "", "mlp.fc2"},
    {"gpt2", "mlp", "mlp.c_fc", "", "mlp.c_proj", Part::all, false, true},
    {kLlama, "self_attn", "self_attn.v_proj", "", "self_attn.o_proj", Part::all, true},
    {"phi3", "self_attn", "self_attn.qkv_proj", "", "self_attn.o_proj", Part::v, true},
    {kBert, "attention", "attention.self.value", "", "attention.output.dense", Part::all, true},
    {kVit, "attention", "attention.attention.value", "", "attention.output.dense", Part::all, true},
    {"gpt2", "attn", "attn.c_attn", "", "attn.c_proj", Part::v, true, true},
};

bool contains_word(std::string_view words, std::string_view word) {
  return !word.empty() &&
         fmt::format(" {} ", words).find(fmt::format(" {} ", word)) != std::string::npos;
}

class FoldFinder {
 public:
  FoldFinder(const Checkpoint& checkpoint, const FoldRule& rule, std::string prefix)
      : checkpoint_(checkpoint), rule_(rule), prefix_(std::move(prefix)) {}

  // Nothing if the consumer is not there: another layer whose name ends like the producer's.
  std::optional<Fold> find() {
    const std::string consumer = prefix_ + rule_.consumer + ".weight";
    const CheckpointTensor* reader = checkpoint_.find(consumer);
    if (!reader || reader->shape.size() != 2) return std::nullopt;
    fold_.name = prefix_ + rule_.block;
    fold_.producer = prefix_ + rule_.producer + ".weight";
    fold_.consumer = consumer;
    std::int64_t repeat = 1;
    if (rule_.heads) {
      const ModelConfig& model = checkpoint_.impl().model;
      if (model.heads <= 0 || model.kv_heads <= 0 || model.head_dim <= 0 ||
          model.heads % model.kv_heads != 0)
        return std::nullopt;  // the config does not say what a head is
      repeat = model.heads / model.kv_heads;
      fold_.head_channels = model.head_dim;
      fold_.size = model.kv_heads * model.head_dim;
    } else {
      fold_.size = reader->shape[rule_.transposed ? 0 : 1];
    }
    add_producer(rule_.producer);
    if (*rule_.second != '\0') add_producer(rule_.second);
    add_slice(consumer, rule_.transposed ? 0 : 1, 0, repeat, true);
    return std::move(fold_);
  }

 private:
  void add_producer(const char* name) {
    const std::string weight = prefix_ + name + ".weight", bias = prefix_ + name + ".bias";
    const CheckpointTensor* tensor = checkpoint_.find(weight);
    if (!tensor || tensor->shape.size() != 2) fault(weight, "is missing");
    const int axis = rule_.transposed ? 1 : 0;
    const std::int64_t rows = tensor->shape[static_cast<std::size_t>(axis)];
    const std::int64_t end = rule_.part == Part::halves ? 2 * fold_.size : rows;
    for (std::int64_t offset = rule_.part == Part::v ? rows - fold_.size : 0; offset < end;
         offset += fold_.size) {
      add_slice(weight, axis, offset, 1, offset + fold_.size == end);
      if (checkpoint_.find(bias)) add_slice(bias, 0, offset, 1, offset + fold_.size == end);
    }
  }

  void add_slice(const std::string& name, int axis, std::int64_t offset, std::int64_t repeat,
                 bool last) {
    const std::int64_t length = checkpoint_.find(name)->shape[static_cast<std::size_t>(axis)];
    const std::int64_t end = offset + repeat * fold_.size;
    if (offset < 0 || end > length || (last && end != length))
      fault(name, fmt::format("has {} channels, needs {}", length, end));
    fold_.slices.push_back({name, axis, offset, repeat});
  }

  [[noreturn]] void fault(const std::string& tensor, const std::string& what) const {
    throw FileError(fmt::format("{}: '{}' {} to be reordered together with '{}'",
                                checkpoint_.directory().string(), printable(tensor), what,
                                printable(fold_.consumer)));
  }

  const Checkpoint& checkpoint_;
  const FoldRule& rule_;
  std::string prefix_;
  Fold fold_;
};

}  // namespace

std::vector<std::int64_t> Fold::segments() const {
  if (head_channels == 0) return {};
  return std::vector(static_cast<std::size_t>(size / head_channels), head_channels);
}

std::int64_t Fold::copies() const {
  std::int64_t copies = 1;
  for (const FoldSlice& slice : slices) copies = std::max(copies, slice.repeat);
  return copies;
}

std::vector<std::size_t> Fold::columns(std::int64_t copy) const {
  const std::int64_t head = copies() > 1 ? head_channels : size;
  std::vector<std::size_t> columns;
  for (std::int64_t c = 0; c < size; ++c)
    columns.push_back(static_cast<std::size_t>((c / head * copies() + copy) * head + c % head));
  return columns;
}

Permutation Fold::column_order(std::span<const std::uint32_t> channels) const {
  check_permutation(channels, size, name);
  Permutation order(static_cast<std::size_t>(copies() * size));
  for (std::int64_t copy = 0; copy < copies(); ++copy) {
    const std::vector<std::size_t> own = columns(copy);
    for (std::size_t c = 0; c < own.size(); ++c)
      order[own[c]] = static_cast<std::uint32_t>(own[channels[c]]);
  }
  return order;
}

std::vector<Fold> find_folds(const Checkpoint& checkpoint) {
  if (checkpoint.is_packed())
    throw InvalidArgument(
        fmt::format("{}: packed; channels are reordered before packing, unpack it first",
                    checkpoint.directory().string()));
  std::vector<Fold> folds;
  for (const CheckpointTensor& tensor : checkpoint.tensors()) {
    for (const FoldRule& rule : kRules) {
      const std::string suffix = fmt::format(".{}.weight", rule.producer);
      if (!contains_word(rule.model_types, checkpoint.model_type()) ||
          !tensor.name.ends_with(suffix))
        continue;
      const std::string prefix = tensor.name.substr(0, tensor.name.size() - suffix.size() + 1);
      if (auto fold = FoldFinder(checkpoint, rule, prefix).find())
        folds.push_back(std::move(*fold));
    }
  }
  return folds;
}

}  // namespace coppice
