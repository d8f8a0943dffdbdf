// Pruned, packed and unpacked copies of whole checkpoints.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <numeric>

#include "coppice/checkpoint.h"
#include "coppice/error.h"
#include "coppice/prune.h"
#include "format/test_checkpoints.h"

namespace coppice {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::read_file;
using testing::read_tree;
using testing::TempDir;
using testing::TestModel;
using ::testing::UnorderedElementsAre;
using testing::write_file;
using testing::write_model;

const WriteOptions kTwoThreads{2, {}};

MaskOptions mask_options(const LinearWeight& weight) {
  MaskOptions options;
  options.row_segments = weight.shape.row_segments;
  options.col_segments = weight.shape.col_segments;
  return options;
}

void prune(const std::filesystem::path& in, const std::filesystem::path& out,
           const Pattern& pattern, const WeightSelection& selection = {}) {
  const Checkpoint checkpoint = Checkpoint::open(in);
  write_dense(
      checkpoint, out, checkpoint.linear_weights(selection),
      [&](const LinearWeight& weight, const MutableDenseView& dense) {
        apply_mask(dense, magnitude_mask(dense, pattern, mask_options(weight)).mask);
      },
      kTwoThreads);
}

SparseMatrix compress_item(const PackItem& item, const DenseView& dense,
                           std::vector<std::uint32_t> permutation = {}) {
  CompressOptions options;
  options.row_segments = item.weight.shape.row_segments;
  options.col_segments = item.weight.shape.col_segments;
  options.input_permutation = std::move(permutation);
  return compress(dense, item.pattern, options);
}

std::vector<PackItem> items_of(const Checkpoint& checkpoint, const Pattern& pattern) {
  std::vector<PackItem> items;
  for (LinearWeight& weight : checkpoint.linear_weights())
    items.push_back({std::move(weight), pattern, false});
  return items;
}

WriteReport pack(const std::filesystem::path& in, const std::filesystem::path& out,
                 const Pattern& pattern) {
  const Checkpoint checkpoint = Checkpoint::open(in);
  return write_packed(
      checkpoint, out, items_of(checkpoint, pattern),
      [](const PackItem& item, const DenseView& dense) { return compress_item(item, dense); },
      kTwoThreads);
}

// All but the spacing of the index, whose keys are sorted again.
std::map<std::string, std::string> tensor_files(const std::filesystem::path& directory) {
  auto files = read_tree(directory);
  if (auto index = files.find("model.safetensors.index.json"); index != files.end())
    index->second = nlohmann::json::parse(index->second).dump();
  return files;
}

struct NamedModel {
  const char* name;
  TestModel model;
};

class CheckpointWrite : public ::testing::TestWithParam<NamedModel> {};

TEST_P(CheckpointWrite, WithoutWeightsIsACopy) {
  TempDir dir;
  write_model(GetParam().model, dir / "m");
  const auto before = read_tree(dir / "m");
  const WriteReport report = write_dense(Checkpoint::open(dir / "m"), dir / "out", {}, {});
  EXPECT_EQ(read_tree(dir / "out"), before);
  EXPECT_EQ(read_tree(dir / "m"), before);
  EXPECT_TRUE(report.left_out.empty());
  EXPECT_EQ(report.tensor_bytes_in, report.tensor_bytes_out);
}

TEST_P(CheckpointWrite, AnEditThatChangesNothingIsACopy) {
  TempDir dir;
  write_model(GetParam().model, dir / "m");
  const Checkpoint checkpoint = Checkpoint::open(dir / "m");
  std::vector<std::string> seen;
  const std::vector<LinearWeight> weights = checkpoint.linear_weights();
  write_dense(checkpoint, dir / "out", weights,
              [&](const LinearWeight& weight, const MutableDenseView& view) {
                seen.push_back(weight.name);
                EXPECT_EQ(view.rows, weight.shape.rows);
                const WeightData data = checkpoint.read(weight);
                EXPECT_EQ(std::memcmp(view.data, data.view().data,
                                      static_cast<std::size_t>(view.rows * view.cols *
                                                               dtype_bytes(view.dtype))),
                          0);
              });
  EXPECT_EQ(read_tree(dir / "out"), read_tree(dir / "m"));
  ASSERT_EQ(seen.size(), weights.size());
  for (std::size_t i = 0; i < seen.size(); ++i) EXPECT_EQ(seen[i], weights[i].name);
}

TEST_P(CheckpointWrite, PruneTouchesTheChosenWeightsOnly) {
  TempDir dir;
  write_model(GetParam().model, dir / "m");
  const Pattern pattern = Pattern::parse("2:4");
  prune(dir / "m", dir / "out", pattern);
  const Checkpoint before = Checkpoint::open(dir / "m"), after = Checkpoint::open(dir / "out");
  ASSERT_EQ(after.tensors().size(), before.tensors().size());
  for (std::size_t i = 0; i < before.tensors().size(); ++i) {
    const CheckpointTensor& tensor = before.tensors()[i];
    EXPECT_EQ(after.tensors()[i], static_cast<const TensorInfo&>(tensor));
    if (tensor.role == TensorRole::linear) continue;
    const SafetensorsFile &a = before.files()[tensor.file], &b = after.files()[tensor.file];
    const auto x = a.data(a.at(tensor.name)), y = b.data(b.at(tensor.name));
    EXPECT_TRUE(std::ranges::equal(x, y)) << tensor.name;
  }
  for (const LinearWeight& weight : after.linear_weights()) {
    const WeightData data = after.read(weight);
    EXPECT_NO_THROW(compress_item({weight, pattern, false}, data.view())) << weight.name;
  }
  EXPECT_EQ(after.files()[0].metadata().at("format"), "pt");
}

TEST_P(CheckpointWrite, PackAndUnpackAreBitExact) {
  for (const char* text : {"2:4", "2:8", "vw4/1:4", "bw2x2/2:4", "16:2:8"}) {
    SCOPED_TRACE(text);
    TempDir dir;
    write_model(GetParam().model, dir / "m");
    const Pattern pattern = Pattern::parse(text);
    prune(dir / "m", dir / "pruned", pattern);
    const WriteReport report = pack(dir / "pruned", dir / "packed", pattern);
    write_unpacked(Checkpoint::open(dir / "packed"), dir / "unpacked", kTwoThreads);
    EXPECT_TRUE(tensor_files(dir / "unpacked") == tensor_files(dir / "pruned"));
    EXPECT_LT(report.tensor_bytes_out, report.tensor_bytes_in);
    EXPECT_EQ(Checkpoint::open(dir / "packed").tensor_bytes(), report.tensor_bytes_out);
  }
}

TEST_P(CheckpointWrite, PackedFormIsAsDocumented) {
  TempDir dir;
  write_model(GetParam().model, dir / "m");
  const Pattern pattern = Pattern::parse("16:2:8");
  prune(dir / "m", dir / "pruned", pattern);
  pack(dir / "pruned", dir / "packed", pattern);
  const Checkpoint dense = Checkpoint::open(dir / "pruned");
  const Checkpoint packed = Checkpoint::open(dir / "packed");
  EXPECT_TRUE(packed.is_packed());
  EXPECT_TRUE(packed.linear_weights().empty());
  const std::vector<LinearWeight> weights = dense.linear_weights();
  ASSERT_EQ(packed.packed_weights().size(), weights.size());

  std::uint64_t own_bytes = 0;
  for (const LinearWeight& weight : weights) {
    EXPECT_EQ(packed.find(weight.tensor), nullptr);
    const PackedEntry* entry = packed.find_packed(weight.name);
    ASSERT_NE(entry, nullptr) << weight.name;
    EXPECT_EQ(entry->pattern, pattern);
    EXPECT_EQ(entry->weight.shape, weight.shape);
    EXPECT_EQ(entry->weight.transposed, weight.transposed);
    EXPECT_EQ(entry->weight.index, weight.index);
    const PackedData data = packed.read_packed(*entry, 2);
    const SparseMatrix again = compress_item({weight, pattern, false}, dense.read(weight).view());
    EXPECT_TRUE(std::ranges::equal(data.view().values, again.values));
    EXPECT_TRUE(std::ranges::equal(data.view().columns, again.columns));
    EXPECT_TRUE(std::ranges::equal(data.view().metadata, again.metadata));
    ASSERT_NE(packed.find(weight.name + ".values"), nullptr);
    ASSERT_NE(packed.find(weight.name + ".columns"), nullptr);
    ASSERT_NE(packed.find(weight.name + ".metadata"), nullptr);
    own_bytes += static_cast<std::uint64_t>(again.own_bytes());
    packed.drop(*entry);
  }
  std::uint64_t stored = 0;
  for (const CheckpointTensor& tensor : packed.tensors())
    if (dense.find(tensor.name) == nullptr)
      stored += static_cast<std::uint64_t>(byte_count(tensor));
  EXPECT_EQ(stored, own_bytes);

  for (const SafetensorsFile& file : packed.files()) {
    EXPECT_EQ(file.metadata().at("coppice_format"), "1");
    EXPECT_EQ(file.metadata().at("format"), "pt");
  }
  const auto config = nlohmann::json::parse(packed.config_json());
  EXPECT_EQ(config["quantization_config"]["quant_method"], "coppice");
  EXPECT_EQ(config["quantization_config"]["format_version"], 1);
  const auto& first = config["quantization_config"]["weights"][weights[0].name];
  EXPECT_EQ(first["pattern"], "16:2:8");
  EXPECT_EQ(first["shape"][0], weights[0].shape.rows);
}

INSTANTIATE_TEST_SUITE_P(Models, CheckpointWrite,
                         ::testing::Values(NamedModel{"bert", testing::bert_like()},
                                           NamedModel{"bert_f16", testing::bert_like(Dtype::f16)},
                                           NamedModel{"bert_f8",
                                                      testing::bert_like(Dtype::f8_e4m3)},
                                           NamedModel{"gpt2", testing::gpt2_like()},
                                           NamedModel{"gpt2_bf16", testing::gpt2_like(Dtype::bf16)},
                                           NamedModel{"gpt2_i8", testing::gpt2_like(Dtype::i8)},
                                           NamedModel{"llama", testing::llama_like()},
                                           NamedModel{"mixtral", testing::mixtral_like()},
                                           NamedModel{"phi3", testing::phi3_like()}),
                         [](const auto& param) { return param.param.name; });

TEST(CheckpointWriter, PacksWithAnInputPermutation) {
  TempDir dir;
  write_model(testing::bert_like(), dir / "m");
  const Checkpoint checkpoint = Checkpoint::open(dir / "m");
  const Pattern pattern = Pattern::parse("vw4/2:4");
  PackItem item{checkpoint.linear_weights().at(0), pattern, true};
  std::vector<std::uint32_t> permutation(24);
  std::iota(permutation.rbegin(), permutation.rend(), 0u);
  Mask mask;
  const auto compressor = [&](const PackItem& i, const DenseView& dense) {
    // Groups of reversed columns hold the same columns as groups of columns here.
    mask = magnitude_mask(dense, pattern).mask;
    CompressOptions options;
    options.input_permutation = permutation;
    return compress(dense, mask, i.pattern, options);
  };
  write_packed(checkpoint, dir / "packed", std::span(&item, 1), compressor);
  const Checkpoint packed = Checkpoint::open(dir / "packed");
  ASSERT_TRUE(packed.packed_weights()[0].has_input_permutation);
  EXPECT_EQ(packed.find(item.weight.name + ".input_permutation")->dtype, Dtype::u32);
  const PackedData data = packed.read_packed(packed.packed_weights()[0]);
  EXPECT_TRUE(std::ranges::equal(data.view().input_permutation, permutation));

  write_unpacked(packed, dir / "unpacked");
  const Checkpoint unpacked = Checkpoint::open(dir / "unpacked");
  const WeightData out = unpacked.read(unpacked.linear_weights().at(0));
  const WeightData in = checkpoint.read(checkpoint.linear_weights().at(0));
  for (std::int64_t r = 0; r < 24; ++r)
    for (std::int64_t c = 0; c < 24; ++c) {
      float expected = 0, got = 0;
      if (mask.get(r, c)) std::memcpy(&expected, in.view().row(r) + c * 4, 4);
      std::memcpy(&got, out.view().row(r) + c * 4, 4);
      ASSERT_EQ(got, expected);
    }
}

TEST(CheckpointWriter, RefusesACompressorThatDoesOtherThanPlanned) {
  TempDir dir;
  write_model(testing::bert_like(), dir / "m");
  const Checkpoint checkpoint = Checkpoint::open(dir / "m");
  const auto compressor = [](const PackItem&, const DenseView& dense) {
    const Pattern other = Pattern::parse("dense");
    return compress(dense, other);
  };
  EXPECT_THROW(write_packed(checkpoint, dir / "out", items_of(checkpoint, Pattern::parse("2:4")),
                            compressor),
               InvalidArgument);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(dir.path()), {}), 1);
}

TEST(CheckpointWriter, RefusesMoreSegmentsThanRowsOrColumnsAsReadersDo) {
  TempDir dir;
  write_model(testing::bert_like(), dir / "m");
  const Checkpoint checkpoint = Checkpoint::open(dir / "m");
  for (auto segments : {&WeightShape::row_segments, &WeightShape::col_segments}) {
    std::vector<PackItem> items = items_of(checkpoint, Pattern::parse("dense"));
    WeightShape& shape = items[0].weight.shape;
    const bool rows = segments == &WeightShape::row_segments;
    const std::int64_t size = rows ? shape.rows : shape.cols;
    const auto write = [&] {
      write_packed(
          checkpoint, dir / "out", items,
          [](const PackItem& item, const DenseView& dense) { return compress_item(item, dense); },
          kTwoThreads);
    };
    (shape.*segments).assign(static_cast<std::size_t>(size), 0);
    (shape.*segments).push_back(size);
    try {
      write();
      FAIL();
    } catch (const InvalidArgument& error) {
      EXPECT_THAT(error.what(), HasSubstr(items[0].weight.name));
      EXPECT_THAT(error.what(), HasSubstr("more segments than rows or columns"));
    }
    EXPECT_FALSE(std::filesystem::exists(dir / "out"));
    // As many as there are: allowed, and read again.
    (shape.*segments).erase((shape.*segments).begin());
    write();
    const Checkpoint packed = Checkpoint::open(dir / "out");
    EXPECT_EQ(packed.find_packed(items[0].weight.name)->weight.shape.*segments, shape.*segments);
    std::filesystem::remove_all(dir / "out");
  }
}

TEST(CheckpointWriter, StackedWeightsArePackedAllOrNone) {
  TempDir dir;
  write_model(testing::mixtral_like(), dir / "m");
  const Checkpoint checkpoint = Checkpoint::open(dir / "m");
  std::vector<PackItem> items = items_of(checkpoint, Pattern::parse("dense"));
  std::erase_if(items, [](const PackItem& item) { return item.weight.index == 2; });
  try {
    write_packed(checkpoint, dir / "out", items, {});
    FAIL();
  } catch (const InvalidArgument& error) {
    EXPECT_THAT(error.what(), HasSubstr("all or none"));
  }
}

TEST(CheckpointWriter, EditsSomeWeightsOfAStack) {
  TempDir dir;
  write_model(testing::mixtral_like(), dir / "m");
  const Checkpoint checkpoint = Checkpoint::open(dir / "m");
  std::vector<LinearWeight> weights = checkpoint.linear_weights();
  std::erase_if(weights, [](const LinearWeight& weight) { return weight.index != 2; });
  write_dense(checkpoint, dir / "out", weights,
              [](const LinearWeight&, const MutableDenseView& view) {
                std::memset(view.data, 0, static_cast<std::size_t>(view.rows * view.cols * 2));
              });
  const Checkpoint out = Checkpoint::open(dir / "out");
  for (const LinearWeight& weight : checkpoint.linear_weights()) {
    const WeightData before = checkpoint.read(weight), after = out.read(weight);
    const auto bytes = static_cast<std::size_t>(weight.shape.rows * weight.shape.cols * 2);
    if (weight.index == 2) {
      EXPECT_TRUE(std::all_of(after.view().data, after.view().data + bytes,
                              [](std::byte b) { return b == std::byte{0}; }));
    } else {
      EXPECT_EQ(std::memcmp(before.view().data, after.view().data, bytes), 0);
    }
  }
}

TEST(CheckpointWriter, OtherFilesComeAlongButNotOtherCopiesOfTheWeights) {
  TempDir dir;
  namespace fs = std::filesystem;
  write_model(testing::bert_like(), dir / "m");
  for (const char* folder : {"2_Dense", "onnx", ".git/objects"})
    fs::create_directories(dir / "m" / folder);
  for (const char* file :
       {"pytorch_model.bin", "tf_model.h5", "onnx/model.onnx", "onnx/config.json",
        "model-00001-of-00009.safetensors", "model.safetensors.index.json",
        "2_Dense/pytorch_model.bin", ".git/objects/x", "vocab.txt", "extra.bin"})
    write_file(dir / "m" / file, file);
  write_file(dir / "outside", "linked");
  fs::create_symlink(dir / "outside", dir / "m" / "linked.txt");
  fs::create_symlink(dir / "absent", dir / "m" / "dangling.txt");
  fs::create_directory_symlink(dir / "m", dir / "m" / "loop");
  fs::permissions(dir / "m" / "vocab.txt", fs::perms::owner_all);

  const WriteReport report = write_dense(Checkpoint::open(dir / "m"), dir / "out", {}, {});
  EXPECT_THAT(
      report.left_out,
      UnorderedElementsAre(".git", "dangling.txt", "loop", "pytorch_model.bin", "tf_model.h5",
                           "onnx/model.onnx", "model-00001-of-00009.safetensors",
                           "model.safetensors.index.json"));
  const auto files = read_tree(dir / "out");
  EXPECT_EQ(files.at("linked.txt"), "linked");
  EXPECT_FALSE(fs::is_symlink(dir / "out" / "linked.txt"));
  for (const char* file :
       {"vocab.txt", "extra.bin", "onnx/config.json", "2_Dense/pytorch_model.bin"})
    EXPECT_EQ(files.at(file), file);
  EXPECT_EQ(files.size(), 9u);
  EXPECT_EQ(fs::status(dir / "out" / "vocab.txt").permissions(), fs::perms::owner_all);
}

TEST(WorthPacking, IsWhatGetsSmallerAndOfAStackAllOrNone) {
  const auto item = [](const char* tensor, Pattern pattern, std::int64_t rows, std::int64_t index,
                       std::int64_t count) {
    LinearWeight weight;
    weight.name = fmt::format("{}.{}", tensor, index);
    weight.tensor = tensor;
    weight.dtype = Dtype::f16;
    weight.shape.rows = rows;
    weight.shape.cols = 64;
    weight.index = index;
    weight.count = count;
    return PackItem{weight, pattern, false};
  };
  const Pattern two_of_four = Pattern::parse("2:4"), all = Pattern::parse("4:4");
  const std::vector<PackItem> items = {
      item("a", two_of_four, 32, 0, 1), item("dense", Pattern::parse("dense"), 32, 0, 1),
      item("all kept", all, 32, 0, 1),  // its choices cost more than it saves
      item("s", two_of_four, 32, 0, 2), item("s", two_of_four, 32, 1, 2),
      item("t", two_of_four, 32, 0, 2), item("t", all, 32, 1, 2),
      item("u", two_of_four, 32, 1, 2)};
  std::vector<std::string> names;
  for (const PackItem& worth : worth_packing(items)) names.push_back(worth.weight.name);
  EXPECT_THAT(names, ElementsAre("a.0", "s.0", "s.1"));
  PackItem permuted = items.front();
  permuted.input_permutation = true;
  EXPECT_EQ(packed_bytes(permuted), packed_bytes(items.front()) + 4 * 64);
  EXPECT_EQ(dense_bytes(permuted.weight), 32 * 64 * 2);
}

// Python's json writes NaN and Infinity, and integers of any length; and a config may be formatted
// in any way.
TEST(CheckpointWriter, ConfigKeepsWhatItSaysToPython) {
  const std::string start = R"({ "model_type" : "bert", "time_step_limit": [0.0, Infinity],
    "z": {"NaN": [NaN,-Infinity ], "quantization_config": "\"}, NaN"}, "n": 123456789012345678901234567890)";
  const std::string config = start + "}\n";
  TempDir dir;
  write_model(testing::bert_like(), dir / "m");
  write_file(dir / "m" / "config.json", config);
  EXPECT_EQ(Checkpoint::open(dir / "m").model_type(), "bert");
  const Pattern pattern = Pattern::parse("2:4");
  prune(dir / "m", dir / "pruned", pattern);
  EXPECT_EQ(read_file(dir / "pruned" / "config.json"), config);
  pack(dir / "pruned", dir / "packed", pattern);
  const std::string packed = read_file(dir / "packed" / "config.json");
  EXPECT_TRUE(packed.starts_with(start + ",\n  \"quantization_config\": {\n    \"format_version\""))
      << packed;
  EXPECT_TRUE(packed.ends_with("\n  }}\n")) << packed;
  EXPECT_FALSE(Checkpoint::open(dir / "packed").packed_weights().empty());
  write_unpacked(Checkpoint::open(dir / "packed"), dir / "unpacked", kTwoThreads);
  EXPECT_EQ(read_file(dir / "unpacked" / "config.json"), config);
}

TEST(CheckpointWriter, ReportsProgress) {
  TempDir dir;
  write_model(testing::llama_like(), dir / "m");
  const Checkpoint checkpoint = Checkpoint::open(dir / "m");
  std::uint64_t last = 0, calls = 0, total = 0;
  WriteOptions options;
  options.progress = [&](const WriteProgress& progress) {
    EXPECT_GE(progress.done, last);
    last = progress.done;
    total = progress.total;
    ++calls;
  };
  write_dense(checkpoint, dir / "out", {}, {}, options);
  EXPECT_EQ(calls, checkpoint.tensors().size() + 1);
  EXPECT_EQ(last, total);
  EXPECT_EQ(total, checkpoint.tensor_bytes());
}

}  // namespace
}  // namespace coppice
