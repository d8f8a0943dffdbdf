// Bad checkpoints, bad outputs, and work that is stopped in the middle.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <nlohmann/json.hpp>

#include "coppice/checkpoint.h"
#include "coppice/error.h"
#include "coppice/prune.h"
#include "format/test_checkpoints.h"

namespace coppice {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::read_file;
using testing::read_tree;
using ::testing::StartsWith;
using testing::TempDir;
using testing::write_file;
using testing::write_model;

constexpr const char* kIndex = "model.safetensors.index.json";

template <typename Action>
std::string message_of(Action action) {
  try {
    action();
  } catch (const Error& error) {
    const std::string message = error.what();
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
    return message;
  }
  return "accepted";
}

std::string refusal(const fs::path& directory) {
  return message_of([&] { Checkpoint::open(directory); });
}

std::vector<std::string> names_in(const fs::path& directory) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(directory))
    names.push_back(entry.path().filename().string());
  std::ranges::sort(names);
  return names;
}

TEST(BadCheckpoint, NoDirectoryConfigOrWeights) {
  TempDir dir;
  EXPECT_THAT(refusal(dir / "absent"), HasSubstr("no such directory"));
  write_file(dir / "file", "x");
  EXPECT_THAT(refusal(dir / "file"), HasSubstr("not a directory"));
  fs::create_directory(dir / "empty");
  EXPECT_THAT(refusal(dir / "empty"), HasSubstr("neither model.safetensors"));
  write_model(testing::bert_like(), dir / "m");
  fs::remove(dir / "m" / "config.json");
  EXPECT_THAT(refusal(dir / "m"), HasSubstr("no config.json"));
}

TEST(BadCheckpoint, BinCheckpointsSayHowToConvert) {
  TempDir dir;
  write_file(dir / "config.json", "{}");
  write_file(dir / "pytorch_model.bin", "x");
  EXPECT_THAT(refusal(dir.path()),
              AllOf(HasSubstr("pytorch_model.bin"), HasSubstr("save_pretrained"),
                    HasSubstr("safe_serialization=True")));
}

TEST(BadCheckpoint, BadConfig) {
  TempDir dir;
  write_model(testing::bert_like(), dir / "m");
  for (const char* config :
       {"", "[]", "{", "7", "{\"a\": \"\xff\"}", "{} x", "{\"a\": 1NaN}", "{\"a\": -NaN}",
        "{\"a\": +Infinity}", "{\"a\": NaNNaN}", "{\"a\": nullNaN}", "{NaN: 1}", "NaN",
        "{\"a\": nan}", "{\"a\": Infinity1}"}) {
    write_file(dir / "m" / "config.json", config);
    EXPECT_THAT(refusal(dir / "m"), HasSubstr("config.json")) << config;
  }
  // Fields of unexpected types are none of our business.
  write_file(dir / "m" / "config.json",
             R"({"model_type": 3, "hidden_size": "x", "num_attention_heads": -1, "head_dim": 1e300,
                 "num_key_value_heads": 18446744073709551615, "tie_word_embeddings": null,
                 "text_config": [], "quantization_config": null, "n_head": NaN, "n_embd": -Infinity})");
  EXPECT_EQ(refusal(dir / "m"), "accepted");
}

TEST(BadCheckpoint, DeeplyNestedConfig) {
  TempDir dir;
  write_model(testing::bert_like(), dir / "m");
  const auto nested = [](std::size_t levels) {
    return R"({"a": )" + std::string(levels, '[') + std::string(levels, ']') + "}";
  };
  write_file(dir / "m" / "config.json", nested(100));
  EXPECT_EQ(refusal(dir / "m"), "accepted");
  for (std::size_t levels : {300, 1'000'000}) {
    write_file(dir / "m" / "config.json", nested(levels));
    EXPECT_THAT(refusal(dir / "m"), HasSubstr("nested deeper")) << levels;
  }
}

TEST(BadCheckpoint, TruncatedFile) {
  TempDir dir;
  write_model(testing::bert_like(), dir / "m");
  fs::resize_file(dir / "m" / "model.safetensors",
                  fs::file_size(dir / "m" / "model.safetensors") - 1);
  EXPECT_THAT(refusal(dir / "m"), HasSubstr("truncated"));
}

class BadIndex : public ::testing::Test {
 protected:
  BadIndex() {
    write_model(testing::llama_like(), dir / "m");
    index = json::parse(read_file(dir / "m" / kIndex));
  }
  std::string refusal_of(const json& changed) {
    write_file(dir / "m" / kIndex, changed.dump());
    return refusal(dir / "m");
  }
  TempDir dir;
  json index;
};

TEST_F(BadIndex, MissingShard) {
  fs::remove(dir / "m" / "model-00002-of-00002.safetensors");
  EXPECT_THAT(refusal(dir / "m"), AllOf(HasSubstr("model-00002-of-00002.safetensors is missing"),
                                        HasSubstr("download")));
}

TEST_F(BadIndex, TensorNotInItsShard) {
  index["weight_map"]["lm_head.weight"] = "model-00001-of-00002.safetensors";
  EXPECT_THAT(refusal_of(index), HasSubstr("'lm_head.weight' is not in its shard"));
  index["weight_map"].erase("lm_head.weight");
  index["weight_map"]["absent"] = "model-00001-of-00002.safetensors";
  EXPECT_THAT(refusal_of(index), HasSubstr("'absent' is not in its shard"));
}

TEST_F(BadIndex, ShardNamesThatLeaveTheDirectory) {
  fs::copy(dir / "m" / "model-00001-of-00002.safetensors", dir / "x.safetensors");
  for (const char* name :
       {"../x.safetensors", "/etc/passwd", "..", ".", "", "a/b.safetensors", "..\\x.safetensors"}) {
    index["weight_map"]["lm_head.weight"] = name;
    EXPECT_THAT(refusal_of(index), HasSubstr("not a plain file name")) << name;
  }
  index["weight_map"]["lm_head.weight"] = std::string("a\0b", 3);
  EXPECT_THAT(refusal_of(index), HasSubstr("not a plain file name"));
}

TEST_F(BadIndex, OtherFaults) {
  index["weight_map"]["lm_head.weight"] = 3;
  EXPECT_THAT(refusal_of(index), HasSubstr("not a text"));
  EXPECT_THAT(refusal_of({{"weight_map", 3}}), HasSubstr("no weight_map"));
  EXPECT_THAT(refusal_of({{"weight_map", json::object()}}), HasSubstr("no weight_map"));
  EXPECT_THAT(refusal_of(json::array()), HasSubstr("not a JSON object"));
  write_file(dir / "m" / kIndex, "{\"weight_map\": ");
  EXPECT_THAT(refusal(dir / "m"), HasSubstr("not valid JSON"));
}

TEST_F(BadIndex, OneTensorInTwoShards) {
  fs::copy_file(dir / "m" / "model-00001-of-00002.safetensors",
                dir / "m" / "model-00002-of-00002.safetensors",
                fs::copy_options::overwrite_existing);
  EXPECT_THAT(refusal(dir / "m"), HasSubstr("is both in"));
}

class BadOutput : public ::testing::Test {
 protected:
  BadOutput() { write_model(testing::bert_like(), dir / "m"); }

  std::string write_to(const fs::path& out, const DenseEdit& edit = {}) {
    const auto before = read_tree(dir / "m");
    std::string message = message_of([&] {
      const Checkpoint checkpoint = Checkpoint::open(dir / "m");
      write_dense(checkpoint, out, edit ? checkpoint.linear_weights() : std::vector<LinearWeight>{},
                  edit);
    });
    EXPECT_EQ(read_tree(dir / "m"), before);
    return message;
  }
  TempDir dir;
};

TEST_F(BadOutput, ExistsOrIsTheInput) {
  EXPECT_THAT(write_to(dir / "m"), HasSubstr("output is the input"));
  EXPECT_THAT(write_to(dir / "m/"), HasSubstr("output is the input"));
  EXPECT_THAT(write_to(dir / "m" / "."), HasSubstr("output is the input"));
  fs::create_directory_symlink(dir / "m", dir / "link");
  EXPECT_THAT(write_to(dir / "link"), HasSubstr("output is the input"));
  fs::create_directory(dir / "other");
  EXPECT_THAT(write_to(dir / "other"), HasSubstr("exists already"));
  fs::create_symlink(dir / "nowhere", dir / "dangling");
  EXPECT_THAT(write_to(dir / "dangling"), HasSubstr("exists already"));
  EXPECT_THAT(write_to(""), HasSubstr("no name"));
}

TEST_F(BadOutput, LiesInsideTheInput) {
  EXPECT_THAT(write_to(dir / "m" / "out"), HasSubstr("inside the input"));
  EXPECT_THAT(write_to(dir / "m" / "1_Pooling" / "out"), HasSubstr("inside the input"));
  EXPECT_THAT(write_to(dir / "m" / ".." / "m" / "out"), HasSubstr("inside the input"));
  fs::create_directory_symlink(dir / "m", dir / "link");
  EXPECT_THAT(write_to(dir / "link" / "out"), HasSubstr("inside the input"));
  EXPECT_EQ(write_to(dir / "m2"), "accepted");  // a name with the same beginning is not inside
}

TEST_F(BadOutput, CannotBeWritten) {
  EXPECT_THAT(write_to(dir / "absent" / "out"), HasSubstr("parent directory does not exist"));
  EXPECT_THAT(write_to("/proc/out"), StartsWith("cannot create /proc/out.tmp-"));
}

TEST_F(BadOutput, TrailingSlashIsFine) {
  EXPECT_EQ(write_to((dir / "out").string() + "/"), "accepted");
  EXPECT_TRUE(fs::exists(dir / "out" / "model.safetensors"));
}

TEST_F(BadOutput, ThrowingEditLeavesNothing) {
  int calls = 0;
  EXPECT_EQ(write_to(dir / "out",
                     [&](const LinearWeight&, const MutableDenseView&) {
                       if (++calls == 3) throw InvalidArgument("enough");
                     }),
            "enough");
  EXPECT_THAT(names_in(dir.path()), ::testing::ElementsAre("m"));
}

TEST_F(BadOutput, CancelLeavesNothing) {
  EXPECT_THAT(write_to(dir / "out",
                       [&](const LinearWeight&, const MutableDenseView&) { request_cancel(); }),
              StartsWith("cancelled"));
  EXPECT_THAT(names_in(dir.path()), ::testing::ElementsAre("m"));
  clear_cancel();
  EXPECT_EQ(write_to(dir / "out"), "accepted");
}

TEST_F(BadOutput, AppearsMeanwhile) {
  EXPECT_THAT(write_to(dir / "out",
                       [&](const LinearWeight&, const MutableDenseView&) {
                         fs::create_directory(dir / "out");
                         write_file(dir / "out" / "mine", "x");
                       }),
              StartsWith("cannot create"));
  EXPECT_THAT(names_in(dir.path()), ::testing::ElementsAre("m", "out"));
  EXPECT_EQ(read_tree(dir / "out").size(), 1u);
}

// In a child process, so that its limits and its end are its own. @returns the wait status.
template <typename Action>
int in_child(Action action) {
  const pid_t child = fork();
  if (child == 0) _exit(action());
  int status = 0;
  waitpid(child, &status, 0);
  return status;
}

TEST_F(BadOutput, FileSizeLimitIsOneLineAndLeavesNothing) {
  const int status = in_child([&] {
    signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{10'000, 10'000};
    setrlimit(RLIMIT_FSIZE, &limit);
    const std::string message = write_to(dir / "out");
    return message.starts_with("cannot write") && message.find("free some space") != message.npos
               ? 0
               : 1;
  });
  EXPECT_EQ(status, 0);
  EXPECT_THAT(names_in(dir.path()), ::testing::ElementsAre("m"));
}

TEST_F(BadOutput, FullDiskIsOneLineAndLeavesNothing) {
  fs::create_directory(dir / "small");
  if (mount("none", (dir / "small").c_str(), "tmpfs", 0, "size=32k") != 0)
    GTEST_SKIP() << "only root can mount a small file system";
  const std::string message = write_to(dir / "small" / "out");
  const auto left = names_in(dir / "small");
  umount((dir / "small").c_str());
  EXPECT_THAT(message, AllOf(StartsWith("cannot write"), HasSubstr("No space left on device"),
                             HasSubstr("free some space")));
  EXPECT_TRUE(left.empty());
}

TEST_F(BadOutput, KillInTheMiddleLeavesAnObviousNameAndTheNextRunWorks) {
  const int status = in_child([&] {
    write_to(dir / "out", [](const LinearWeight&, const MutableDenseView&) { raise(SIGKILL); });
    return 0;
  });
  EXPECT_TRUE(WIFSIGNALED(status));
  const auto names = names_in(dir.path());
  ASSERT_EQ(names.size(), 2u);
  EXPECT_THAT(names[1], StartsWith("out.tmp-"));
  EXPECT_EQ(write_to(dir / "out"), "accepted");
  EXPECT_EQ(read_tree(dir / "out"), read_tree(dir / "m"));
}

TEST_F(BadOutput, SignalHandlerCancelsCleanly) {
  const int status = in_child([&] {
    signal(SIGINT, [](int) { request_cancel(); });
    const std::string message =
        write_to(dir / "out", [](const LinearWeight&, const MutableDenseView&) { raise(SIGINT); });
    return message.starts_with("cancelled") ? 0 : 1;
  });
  EXPECT_EQ(status, 0);
  EXPECT_THAT(names_in(dir.path()), ::testing::ElementsAre("m"));
}

// A packed checkpoint of 16:2:8, whose config or arrays are then falsified.
class BadPacked : public ::testing::Test {
 protected:
  void pack(const testing::TestModel& model) {
    write_model(model, dir / "m");
    const Checkpoint checkpoint = Checkpoint::open(dir / "m");
    std::vector<PackItem> items;
    for (LinearWeight& weight : checkpoint.linear_weights())
      items.push_back({std::move(weight), Pattern::parse("16:2:8"), false});
    write_packed(checkpoint, dir / "p", items, [](const PackItem& item, const DenseView& dense) {
      MaskOptions mask{item.weight.shape.row_segments, {}};
      CompressOptions options;
      options.row_segments = item.weight.shape.row_segments;
      return compress(dense, magnitude_mask(dense, item.pattern, mask).mask, item.pattern, options);
    });
    config = json::parse(read_file(dir / "p" / "config.json"));
  }
  json& weight(const std::string& name) { return config["quantization_config"]["weights"][name]; }
  std::string refusal_of(const json& changed) {
    write_file(dir / "p" / "config.json", changed.dump());
    return refusal(dir / "p");
  }
  TempDir dir;
  json config;
};

TEST_F(BadPacked, EveryFieldOfTheConfigIsChecked) {
  pack(testing::bert_like());
  const std::string name = "encoder.layer.0.attention.self.query.weight";
  ASSERT_EQ(refusal_of(config), "accepted");
  struct Lie {
    const char* field;
    json value;
  };
  for (const Lie& lie : {
           Lie{"tensor", 3},
           Lie{"tensor", "other"},
           Lie{"tensor", nullptr},
           Lie{"pattern", "2:4"},
           Lie{"pattern", "16:2:16"},
           Lie{"pattern", "x"},
           Lie{"pattern", 7},
           Lie{"dtype", "BF16"},
           Lie{"dtype", "I64"},
           Lie{"dtype", "?"},
           Lie{"dtype", 0},
           Lie{"shape", {24, 25}},
           Lie{"shape", {25, 24}},
           Lie{"shape", {24}},
           Lie{"shape", "x"},
           Lie{"shape", {24, -24}},
           Lie{"shape", {24, 0}},
           Lie{"shape", {1e9, 1e9}},
           Lie{"shape", {24, 268435456}},
           Lie{"shape", {268435456, 24}},
           Lie{"shape", {24, 18446744073709551615u}},
           Lie{"shape", {24, 24, 24}},
           Lie{"row_segments", {12, 13}},
           Lie{"row_segments", {-12, 36}},
           Lie{"row_segments", 4},
           Lie{"row_segments", {5, 19}},
           Lie{"col_segments", {11, 13}},
           Lie{"col_segments", json::array({nullptr})},
           Lie{"transposed", 1},
           Lie{"stack", {0, 2}},
           Lie{"stack", {2, 2}},
           Lie{"stack", {0}},
           Lie{"stack", "x"},
           Lie{"input_permutation", true},
           Lie{"input_permutation", "x"},
       }) {
    json changed = config;
    changed["quantization_config"]["weights"][name][lie.field] = lie.value;
    EXPECT_THAT(refusal_of(changed), HasSubstr(name)) << lie.field << " " << lie.value;
  }
  for (const char* field : {"tensor", "pattern", "dtype", "shape"}) {
    json changed = config;
    changed["quantization_config"]["weights"][name].erase(field);
    EXPECT_THAT(refusal_of(changed), HasSubstr(field)) << field;
  }
}

TEST_F(BadPacked, FormatVersionAndList) {
  pack(testing::bert_like());
  json changed = config;
  changed["quantization_config"]["format_version"] = 2;
  EXPECT_THAT(refusal_of(changed), HasSubstr("newer Coppice"));
  changed = config;
  changed["quantization_config"].erase("weights");
  EXPECT_THAT(refusal_of(changed), HasSubstr("lists no weights"));
  changed = config;
  changed["quantization_config"]["weights"]["absent"] =
      config["quantization_config"]["weights"].front();
  changed["quantization_config"]["weights"]["absent"]["tensor"] = "absent";
  EXPECT_THAT(refusal_of(changed), HasSubstr("values are missing"));
  changed["quantization_config"]["weights"]["absent"] = 4;
  EXPECT_THAT(refusal_of(changed), HasSubstr("not an object"));
}

TEST_F(BadPacked, StacksMustBeWhole) {
  pack(testing::mixtral_like());
  ASSERT_EQ(refusal_of(config), "accepted");
  json changed = config;
  auto& weights = changed["quantization_config"]["weights"];
  const std::string tensor = "model.layers.0.mlp.experts.down_proj";
  weights.erase(tensor + ".3");
  EXPECT_THAT(refusal_of(changed), HasSubstr("weight 3 of its stack is missing"));
  weights = config["quantization_config"]["weights"];
  weights.erase(tensor + ".0");
  EXPECT_THAT(refusal_of(changed), HasSubstr("incomplete"));
  weights = config["quantization_config"]["weights"];
  weights[tensor + ".1"]["stack"] = {1, 1'000'000};
  EXPECT_THAT(refusal_of(changed), HasSubstr("incomplete"));
  weights[tensor + ".1"]["stack"] = {1, 5};
  EXPECT_THAT(refusal_of(changed), HasSubstr("does not look like"));
}

TEST_F(BadPacked, ArraysAreValidatedBeforeUse) {
  pack(testing::bert_like());
  const std::string name = "encoder.layer.0.attention.self.query.weight";
  std::string file = read_file(dir / "p" / "model.safetensors");
  std::size_t offset = 0;
  {
    const Checkpoint packed = Checkpoint::open(dir / "p");
    const StoredTensor& metadata = packed.files()[0].at(name + ".metadata");
    offset = file.size() - packed.files()[0].tensors().back().end + metadata.begin;
  }
  file[offset] = 0;  // two kept columns with the same index
  write_file(dir / "p" / "model.safetensors", file);
  const Checkpoint packed = Checkpoint::open(dir / "p");
  EXPECT_THAT(message_of([&] { packed.read_packed(*packed.find_packed(name)); }), HasSubstr(name));
  EXPECT_THAT(message_of([&] { write_unpacked(packed, dir / "out"); }), HasSubstr(name));
  EXPECT_THAT(names_in(dir.path()), ::testing::ElementsAre("m", "p"));
}

TEST_F(BadPacked, PackTwiceUnpackDenseAndForeignQuantization) {
  pack(testing::bert_like());
  EXPECT_THAT(message_of([&] { write_packed(Checkpoint::open(dir / "p"), dir / "o", {}, {}); }),
              HasSubstr("packed already"));
  EXPECT_THAT(message_of([&] { write_unpacked(Checkpoint::open(dir / "m"), dir / "o"); }),
              HasSubstr("nothing to unpack"));
  write_file(dir / "m" / "config.json", R"({"quantization_config": {"quant_method": "gptq"}})");
  EXPECT_THAT(message_of([&] { write_packed(Checkpoint::open(dir / "m"), dir / "o", {}, {}); }),
              HasSubstr("quantised by gptq"));
}

TEST(Checkpoints, TheSameWeightTwiceIsRefused) {
  TempDir dir;
  write_model(testing::bert_like(), dir / "m");
  const Checkpoint checkpoint = Checkpoint::open(dir / "m");
  std::vector<LinearWeight> weights = checkpoint.linear_weights();
  weights.push_back(weights.front());
  EXPECT_THROW(write_dense(checkpoint, dir / "out", weights, [](const auto&, const auto&) {}),
               InvalidArgument);
}

}  // namespace
}  // namespace coppice
