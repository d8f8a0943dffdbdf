// Opening checkpoints, reading weights through their adapters, and finding nonfinite weights.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "coppice/checkpoint.h"
#include "coppice/error.h"
#include "format/checkpoint_adapter.h"
#include "format/test_checkpoints.h"

namespace coppice {
namespace {

using testing::TempDir;
using testing::write_model;

std::uint32_t element(const std::byte* data, int bytes, std::int64_t index) {
  std::uint32_t bits = 0;
  std::memcpy(&bits, data + index * bytes, static_cast<std::size_t>(bytes));
  return bits;
}

TEST(Checkpoint, OpensASingleFile) {
  TempDir dir;
  write_model(testing::bert_like(), dir / "m");
  const Checkpoint checkpoint = Checkpoint::open(dir / "m");
  EXPECT_EQ(checkpoint.model_type(), "bert");
  EXPECT_EQ(checkpoint.files().size(), 1u);
  EXPECT_FALSE(checkpoint.is_packed());
  const std::vector<LinearWeight> weights = checkpoint.linear_weights();
  EXPECT_EQ(weights.size(), 12u);
  for (const LinearWeight& weight : weights) EXPECT_TRUE(weight.name.starts_with("encoder.layer."));
  EXPECT_EQ(checkpoint.find("pooler.dense.weight")->role, TensorRole::pooler);
  EXPECT_EQ(checkpoint.find("absent"), nullptr);
  EXPECT_EQ(checkpoint.linear_weights({{"pooler.*"}, {}}).size(), 1u);
}

TEST(Checkpoint, OpensShards) {
  TempDir dir;
  write_model(testing::llama_like(), dir / "m");
  const Checkpoint checkpoint = Checkpoint::open(dir / "m");
  ASSERT_EQ(checkpoint.files().size(), 2u);
  EXPECT_EQ(checkpoint.file_names()[0], "model-00001-of-00002.safetensors");
  EXPECT_EQ(checkpoint.linear_weights().size(), 14u);
  EXPECT_EQ(checkpoint.find("model.layers.1.mlp.up_proj.weight")->file, 1u);
}

TEST(Checkpoint, ReadsTransposedWeights) {
  TempDir dir;
  write_model(testing::gpt2_like(), dir / "m");
  const Checkpoint checkpoint = Checkpoint::open(dir / "m");
  for (const LinearWeight& weight : checkpoint.linear_weights()) {
    ASSERT_TRUE(weight.transposed);
    const WeightData data = checkpoint.read(weight, 2);
    const SafetensorsFile& file = checkpoint.files()[0];
    const std::byte* stored = file.data(file.at(weight.tensor)).data();
    for (std::int64_t r = 0; r < weight.shape.rows; ++r)
      for (std::int64_t c = 0; c < weight.shape.cols; ++c)
        ASSERT_EQ(element(data.view().row(r), 4, c), element(stored, 4, c * weight.shape.rows + r));
    checkpoint.drop(weight);
  }
}

TEST(Checkpoint, ReadsStackedWeights) {
  TempDir dir;
  write_model(testing::mixtral_like(), dir / "m");
  const Checkpoint checkpoint = Checkpoint::open(dir / "m");
  const std::vector<LinearWeight> weights = checkpoint.linear_weights();
  EXPECT_EQ(weights.size(), 2u * (1 + 4 + 4));
  for (const LinearWeight& weight : weights) {
    if (!weight.stacked) continue;
    const WeightData data = checkpoint.read(weight);
    const CheckpointTensor& tensor = *checkpoint.find(weight.tensor);
    const SafetensorsFile& file = checkpoint.files()[tensor.file];
    const std::size_t bytes = weight_bytes(weight);
    EXPECT_EQ(std::memcmp(data.view().data,
                          file.data(file.at(weight.tensor)).data() +
                              static_cast<std::size_t>(weight.index) * bytes,
                          bytes),
              0);
  }
}

TEST(Checkpoint, CopiesWeightsThatAreNotAligned) {
  TempDir dir;
  std::filesystem::create_directory(dir / "m");
  std::string header = R"({"l.weight":{"dtype":"F32","shape":[2,3],"data_offsets":[1,25]},)"
                       R"("x":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})";
  std::string file(8, '\0');
  file[0] = static_cast<char>(header.size());
  file += header + "x123456789012345678901234";
  testing::write_file(dir / "m" / "model.safetensors", file);
  testing::write_file(dir / "m" / "config.json", "{}");
  const Checkpoint checkpoint = Checkpoint::open(dir / "m");
  const WeightData data = checkpoint.read(checkpoint.linear_weights().at(0));
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(data.view().data) % 4, 0u);
  EXPECT_EQ(std::memcmp(data.view().data, "123456789012345678901234", 24), 0);
}

TEST(Checkpoint, RefusesWeightsOfAnotherCheckpoint) {
  TempDir dir;
  write_model(testing::bert_like(), dir / "m");
  const Checkpoint checkpoint = Checkpoint::open(dir / "m");
  const LinearWeight good = checkpoint.linear_weights().at(0);
  auto bad = [&](auto change) {
    LinearWeight weight = good;
    change(weight);
    EXPECT_THROW(checkpoint.read(weight), InvalidArgument);
  };
  bad([](LinearWeight& w) { w.tensor = "absent"; });
  bad([](LinearWeight& w) { w.shape.rows += 1; });
  bad([](LinearWeight& w) { w.dtype = Dtype::bf16; });
  bad([](LinearWeight& w) { w.index = 1; });
  bad([](LinearWeight& w) { w.stacked = true; });
}

TEST(Checkpoint, TransposeIsExactForEverySizeAndThreadCount) {
  std::mt19937 engine(3);
  for (int bytes : {1, 2, 4}) {
    for (auto [rows, cols] :
         {std::pair{1, 1}, {1, 200}, {200, 1}, {63, 65}, {64, 128}, {130, 257}}) {
      std::vector<std::byte> in(static_cast<std::size_t>(rows * cols * bytes)), out(in.size());
      for (std::byte& b : in) b = static_cast<std::byte>(engine());
      for (int threads : {1, 3}) {
        std::ranges::fill(out, std::byte{0xa5});
        transpose(in.data(), out.data(), rows, cols, bytes, threads);
        for (int r = 0; r < rows; ++r)
          for (int c = 0; c < cols; ++c)
            ASSERT_EQ(element(out.data(), bytes, c * rows + r),
                      element(in.data(), bytes, r * cols + c));
      }
    }
  }
}

TEST(Checkpoint, StoreUndoesLoad) {
  for (bool transposed : {false, true}) {
    LinearWeight weight;
    weight.dtype = Dtype::bf16;
    weight.shape = {2100, 2049, {}, {}};  // over one piece
    weight.transposed = transposed;
    std::vector<std::byte> stored(weight_bytes(weight)), dense(stored.size()), again;
    std::mt19937 engine(4);
    for (std::byte& b : stored) b = static_cast<std::byte>(engine());
    load_weight(weight, stored, dense.data(), 2);
    store_weight(weight, dense.data(), 2, [&](std::span<const std::byte> part) {
      again.insert(again.end(), part.begin(), part.end());
    });
    EXPECT_EQ(again, stored);
  }
}

TEST(FindNonfinite, FindsTheFirstInEveryDtype) {
  std::mt19937 engine(5);
  for (Dtype dtype : {Dtype::f32, Dtype::f16, Dtype::bf16, Dtype::f8_e4m3, Dtype::i8}) {
    const std::int64_t rows = 37, cols = 4100;  // over one chunk, with a tail
    std::vector<float> values(static_cast<std::size_t>(rows * cols));
    for (float& v : values) v = std::uniform_real_distribution<float>(-3e4f, 3e4f)(engine);
    if (dtype == Dtype::f8_e4m3 || dtype == Dtype::i8)
      for (float& v : values) v /= 1000;
    values[0] = -0.0f;
    values[1] = std::numeric_limits<float>::denorm_min();
    std::vector<std::byte> data(values.size() * static_cast<std::size_t>(dtype_bytes(dtype)));
    from_float(dtype, values, data.data());
    const DenseView view{data.data(), dtype, rows, cols, 0};
    EXPECT_FALSE(find_nonfinite(view)) << dtype_name(dtype);
    if (!is_floating(dtype)) continue;

    auto plant = [&](std::int64_t row, std::int64_t col, float value) {
      values[static_cast<std::size_t>(row * cols + col)] = value;
      from_float(dtype, values, data.data());
    };
    plant(36, 4099, std::numeric_limits<float>::quiet_NaN());
    for (int threads : {1, 4}) {
      const auto last = find_nonfinite(view, threads);
      ASSERT_TRUE(last) << dtype_name(dtype);
      EXPECT_EQ(last->row, 36);
      EXPECT_EQ(last->col, 4099);
      EXPECT_TRUE(std::isnan(last->value));
    }
    if (dtype == Dtype::f8_e4m3) continue;  // has no infinity
    plant(11, 4096, -std::numeric_limits<float>::infinity());
    plant(11, 4098, std::numeric_limits<float>::quiet_NaN());
    for (int threads : {1, 4}) {
      const auto first = find_nonfinite(view, threads);
      ASSERT_TRUE(first);
      EXPECT_EQ(first->row, 11);
      EXPECT_EQ(first->col, 4096);
      EXPECT_EQ(first->value, -std::numeric_limits<float>::infinity());
    }
  }
  EXPECT_FALSE(find_nonfinite({nullptr, Dtype::f32, 0, 5, 0}));
  EXPECT_FALSE(find_nonfinite({nullptr, Dtype::f32, 5, 0, 0}));
}

}  // namespace
}  // namespace coppice
