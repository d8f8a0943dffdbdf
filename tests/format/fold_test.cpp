#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>
#include <random>
#include <utility>

#include "coppice/error.h"
#include "coppice/permutation_fold.h"
#include "format/test_checkpoints.h"

namespace coppice {
namespace {

using ::testing::HasSubstr;
using testing::TempDir;
using testing::TestModel;
using ::testing::ThrowsMessage;

using Matrix = std::vector<std::vector<double>>;

// Like bert_like, with biases, in the names of ViT and with 3 heads.
TestModel vit_like() {
  std::vector<TensorInfo> tensors;
  auto add = [&](const char* name, std::int64_t rows, std::int64_t cols) {
    tensors.push_back(
        {fmt::format("vit.encoder.layer.0.{}.weight", name), Dtype::f32, {rows, cols}});
    tensors.push_back({fmt::format("vit.encoder.layer.0.{}.bias", name), Dtype::f32, {rows}});
  };
  for (const char* part : {"query", "key", "value"})
    add(fmt::format("attention.attention.{}", part).c_str(), 24, 24);
  add("attention.output.dense", 24, 24);
  add("intermediate.dense", 40, 24);
  add("output.dense", 24, 40);
  return {R"({"model_type": "vit", "hidden_size": 24, "num_attention_heads": 3})", {tensors}};
}

// y[token] = W x[token] + b, rows [begin, begin + count) of the weight (count 0: all).
Matrix linear(const Checkpoint& model, const std::string& name, const Matrix& x,
              std::int64_t begin = 0, std::int64_t count = 0) {
  for (const LinearWeight& weight : model.linear_weights()) {
    if (weight.name != name + ".weight") continue;
    if (count == 0) count = weight.shape.rows;
    const WeightData data = model.read(weight);
    std::vector<float> row(static_cast<std::size_t>(weight.shape.cols));
    std::vector<float> bias(static_cast<std::size_t>(weight.shape.rows));
    if (const CheckpointTensor* tensor = model.find(name + ".bias"))
      to_float(
          tensor->dtype,
          model.files()[tensor->file].data(model.files()[tensor->file].at(name + ".bias")).data(),
          bias);
    Matrix y(x.size());
    for (std::int64_t r = begin; r < begin + count; ++r) {
      to_float(weight.dtype, data.view().row(r), row);
      for (std::size_t t = 0; t < x.size(); ++t)
        y[t].push_back(std::inner_product(row.begin(), row.end(), x[t].begin(),
                                          static_cast<double>(bias[static_cast<std::size_t>(r)])));
    }
    return y;
  }
  throw std::runtime_error("no weight " + name);
}

Matrix attend(const Matrix& q, const Matrix& k, const Matrix& v, std::size_t heads,
              std::size_t kv_heads) {
  const std::size_t width = q[0].size() / heads;
  Matrix out(q.size(), std::vector<double>(q[0].size()));
  for (std::size_t t = 0; t < q.size(); ++t)
    for (std::size_t head = 0; head < heads; ++head) {
      const std::size_t shared = head / (heads / kv_heads) * width;
      double total = 0;
      for (std::size_t s = 0; s < k.size(); ++s) {
        double dot = 0;
        for (std::size_t j = 0; j < width; ++j) dot += q[t][head * width + j] * k[s][shared + j];
        const double weight = std::exp(dot / 50);
        total += weight;
        for (std::size_t j = 0; j < width; ++j)
          out[t][head * width + j] += weight * v[s][shared + j];
      }
      for (std::size_t j = 0; j < width; ++j) out[t][head * width + j] /= total;
    }
  return out;
}

// Where the parts of a block are: names, and the first row of each in its (fused) weight.
struct Block {
  std::string q, k, v, o, up, gate = {}, down;
  std::size_t hidden = 24, heads = 2, kv_heads = 2;
  std::int64_t q_rows = 24, kv_rows = 24;
  std::int64_t k_row = 0, v_row = 0, gate_row = 0, up_row = 0, up_rows = 0;
};

Matrix forward(const Checkpoint& model, const Block& block, const Matrix& x) {
  Matrix y = linear(
      model, block.o,
      attend(linear(model, block.q, x, 0, block.q_rows),
             linear(model, block.k, x, block.k_row, block.kv_rows),
             linear(model, block.v, x, block.v_row, block.kv_rows), block.heads, block.kv_heads));
  Matrix h = linear(model, block.up, y, block.up_row, block.up_rows);
  const Matrix gate =
      block.gate.empty() ? h : linear(model, block.gate, y, block.gate_row, block.up_rows);
  for (std::size_t t = 0; t < h.size(); ++t)
    for (std::size_t i = 0; i < h[t].size(); ++i)
      h[t][i] = (block.gate.empty() ? 1 : h[t][i]) * gate[t][i] / (1 + std::exp(-gate[t][i] / 20));
  return linear(model, block.down, h);
}

Permutation random_permutation(const Fold& fold, std::mt19937& random) {
  Permutation p = identity_permutation(fold.size);
  const std::int64_t length = fold.head_channels ? fold.head_channels : fold.size;
  for (std::int64_t begin = 0; begin < fold.size; begin += length)
    std::shuffle(p.begin() + begin, p.begin() + begin + length, random);
  return p;
}

void expect_same_function(const TestModel& model, const Block& block, std::size_t folds_expected) {
  TempDir dir;
  testing::write_model(model, dir / "in");
  const Checkpoint before = Checkpoint::open(dir / "in");
  const std::vector<Fold> folds = find_folds(before);
  ASSERT_EQ(folds.size(), folds_expected);
  std::mt19937 random(1);
  std::vector<FoldedPermutation> folded;
  for (const Fold& fold : folds) folded.push_back({fold, random_permutation(fold, random)});
  write_folded(before, dir / "out", folded);
  const Checkpoint after = Checkpoint::open(dir / "out");

  std::normal_distribution<double> normal;
  Matrix x(5, std::vector<double>(block.hidden));
  for (auto& token : x)
    for (double& value : token) value = normal(random);
  const Matrix expected = forward(before, block, x), got = forward(after, block, x);
  for (std::size_t t = 0; t < x.size(); ++t)
    for (std::size_t i = 0; i < expected[t].size(); ++i)
      EXPECT_NEAR(got[t][i], expected[t][i], 1e-11 * (1 + std::fabs(expected[t][i])));

  // Every tensor of a fold did change, all others are the same bytes, and the inverse undoes it.
  std::map<std::string, bool> moved;
  for (const Fold& fold : folds)
    for (const FoldSlice& slice : fold.slices) moved[slice.tensor] = true;
  auto bytes = [](const Checkpoint& c, const CheckpointTensor& t) {
    const auto data = c.files()[t.file].data(c.files()[t.file].at(t.name));
    return std::vector<std::byte>(data.begin(), data.end());
  };
  for (const CheckpointTensor& tensor : before.tensors())
    EXPECT_EQ(bytes(before, tensor) != bytes(after, *after.find(tensor.name)), moved[tensor.name])
        << tensor.name;
  for (FoldedPermutation& fold : folded) fold.permutation = inverse(fold.permutation);
  write_folded(after, dir / "back", folded);
  EXPECT_EQ(testing::read_tree(dir / "in"), testing::read_tree(dir / "back"));
}

TEST(Fold, KeepsWhatABertBlockComputes) {
  const std::string l = "encoder.layer.1.";
  expect_same_function(testing::bert_like(),
                       {.q = l + "attention.self.query",
                        .k = l + "attention.self.key",
                        .v = l + "attention.self.value",
                        .o = l + "attention.output.dense",
                        .up = l + "intermediate.dense",
                        .down = l + "output.dense"},
                       4);
}

TEST(Fold, KeepsWhatAVitBlockComputes) {
  const std::string l = "vit.encoder.layer.0.";
  expect_same_function(vit_like(),
                       {.q = l + "attention.attention.query",
                        .k = l + "attention.attention.key",
                        .v = l + "attention.attention.value",
                        .o = l + "attention.output.dense",
                        .up = l + "intermediate.dense",
                        .down = l + "output.dense",
                        .heads = 3,
                        .kv_heads = 3},
                       2);
}

TEST(Fold, KeepsWhatAGpt2BlockComputes) {
  const std::string qkv = "h.0.attn.c_attn";
  expect_same_function(testing::gpt2_like(),
                       {.q = qkv,
                        .k = qkv,
                        .v = qkv,
                        .o = "h.0.attn.c_proj",
                        .up = "h.0.mlp.c_fc",
                        .down = "h.0.mlp.c_proj",
                        .k_row = 24,
                        .v_row = 48},
                       4);
}

TEST(Fold, KeepsWhatALlamaBlockComputes) {
  const std::string l = "model.layers.1.";
  expect_same_function(testing::llama_like(),
                       {.q = l + "self_attn.q_proj",
                        .k = l + "self_attn.k_proj",
                        .v = l + "self_attn.v_proj",
                        .o = l + "self_attn.o_proj",
                        .up = l + "mlp.up_proj",
                        .gate = l + "mlp.gate_proj",
                        .down = l + "mlp.down_proj",
                        .hidden = 32,
                        .heads = 4,
                        .kv_heads = 2,
                        .q_rows = 32,
                        .kv_rows = 16},
                       4);
}

TEST(Fold, KeepsWhatAPhi3BlockComputes) {
  const std::string l = "model.layers.0.", qkv = l + "self_attn.qkv_proj";
  expect_same_function(testing::phi3_like(),
                       {.q = qkv,
                        .k = qkv,
                        .v = qkv,
                        .o = l + "self_attn.o_proj",
                        .up = l + "mlp.gate_up_proj",
                        .gate = l + "mlp.gate_up_proj",
                        .down = l + "mlp.down_proj",
                        .hidden = 32,
                        .heads = 4,
                        .kv_heads = 2,
                        .q_rows = 32,
                        .kv_rows = 16,
                        .k_row = 32,
                        .v_row = 48,
                        .up_row = 48,
                        .up_rows = 48},
                       2);
}

TEST(Fold, KnowsHeadsAndNothingOfOtherModels) {
  TempDir dir;
  testing::write_model(testing::llama_like(), dir / "llama");
  const Checkpoint llama = Checkpoint::open(dir / "llama");
  const std::vector<Fold> folds = find_folds(llama);
  const auto attention = std::ranges::find(folds, "model.layers.0.self_attn", &Fold::name);
  ASSERT_NE(attention, folds.end());
  EXPECT_EQ(attention->segments(), (std::vector<std::int64_t>{8, 8}));
  EXPECT_EQ(attention->producer, "model.layers.0.self_attn.v_proj.weight");
  const auto mlp = std::ranges::find(folds, "model.layers.0.mlp", &Fold::name);
  EXPECT_TRUE(mlp->segments().empty());
  EXPECT_EQ(mlp->size, 88);

  TestModel other = testing::llama_like();
  other.config.replace(other.config.find("llama"), 5, "lamma");
  testing::write_model(other, dir / "other");
  EXPECT_TRUE(find_folds(Checkpoint::open(dir / "other")).empty());
}

TEST(Fold, RefusesPermutationsThatDoNotFit) {
  TempDir dir;
  testing::write_model(testing::llama_like(), dir / "in");
  const Checkpoint model = Checkpoint::open(dir / "in");
  const std::vector<Fold> folds = find_folds(model);
  const Fold attention = *std::ranges::find(folds, "model.layers.0.self_attn", &Fold::name);
  auto write = [&](std::vector<FoldedPermutation> folded) {
    write_folded(model, dir / "out", folded);
  };
  Permutation across = identity_permutation(16);
  std::swap(across[0], across[8]);
  EXPECT_THAT(
      [&] {
        write({{attention, across}});
      },
      ThrowsMessage<InvalidArgument>(HasSubstr("in another head")));
  EXPECT_THAT(
      [&] {
        write({{attention, identity_permutation(15)}});
      },
      ThrowsMessage<InvalidArgument>(HasSubstr("has 15 entries")));
  const FoldedPermutation fine{attention, identity_permutation(16)};
  EXPECT_THAT(
      [&] {
        write({fine, fine});
      },
      ThrowsMessage<InvalidArgument>(HasSubstr("given twice")));
  FoldedPermutation hostile = fine;
  hostile.fold.slices[0].offset = 1;
  EXPECT_THAT([&] { write({hostile}); }, ThrowsMessage<InvalidArgument>(HasSubstr("does not fit")));
  EXPECT_FALSE(std::filesystem::exists(dir / "out"));

  TestModel odd = testing::llama_like();
  for (TensorInfo& tensor : odd.shards[0])
    if (tensor.name.ends_with("up_proj.weight")) tensor.shape[0] = 80;
  testing::write_model(odd, dir / "odd");
  EXPECT_THAT([&] { find_folds(Checkpoint::open(dir / "odd")); },
              ThrowsMessage<FileError>(HasSubstr("has 80 channels, needs 88")));
}

}  // namespace
}  // namespace coppice
