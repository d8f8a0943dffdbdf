// Statistics files: what is written is read, shards add up in any order, damage gets one error.
#include "coppice/statistics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>

#include "coppice/error.h"
#include "coppice/safetensors.h"
#include "files.h"
#include "prune/random_statistics.h"

namespace coppice {
namespace {

using ::testing::HasSubstr;
using testing::random_activations;
using testing::reference_statistics;
using testing::TempDir;
using ::testing::ThrowsMessage;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

// Inputs "a" of 70 columns with a Gram matrix and "b" of 5 without; gradients of "a.up".
struct Sample {
  InputStatistics a, b;
  FisherStatistics fisher;

  explicit Sample(unsigned seed, std::int64_t tokens = 100) {
    std::mt19937 random(seed);
    a = reference_statistics(random_activations(tokens, 70, random), 70);
    b = reference_statistics(random_activations(tokens, 5, random), 5);
    b.gram.clear();
    fisher = {3, 2, tokens, {}};
    for (int i = 0; i < 3; ++i) {
      const auto block = reference_statistics(random_activations(tokens, 2, random), 2).gram;
      fisher.sums.insert(fisher.sums.end(), block.begin(), block.end());
    }
  }
  StatisticsContents contents() const {
    return {StatisticsSet::held_out,
            {{"b", 5, b.samples, false}, {"a", 70, a.samples, true}},
            {{"a.gate", "a"}, {"a.up", "a"}, {"b.down", "b"}},
            {{"a.up", 3, 2, fisher.samples}}};
  }
  void write(const std::filesystem::path& path) const {
    StatisticsWriter writer(path, contents());
    writer.add("a", a);
    writer.add_fisher("a.up", fisher);
    writer.add("b", b);
    writer.commit();
  }
};

TEST(StatisticsFile, ReadsWhatWasWritten) {
  TempDir dir;
  const Sample sample(1);
  sample.write(dir / "s");
  const StatisticsFile file = StatisticsFile::open(dir / "s");
  EXPECT_EQ(file.contents().set, StatisticsSet::held_out);
  EXPECT_EQ(file.contents().weights, sample.contents().weights);
  ASSERT_NE(file.input_of("a.up"), nullptr);
  EXPECT_EQ(file.input_of("a.up"), file.input_of("a.gate"));
  EXPECT_EQ(file.input_of("c"), nullptr);
  EXPECT_EQ(file.fisher_of("a.gate"), nullptr);
  const InputStatistics a = file.read(*file.input_of("a.up"), 2);
  EXPECT_EQ(a.cols, 70);
  EXPECT_EQ(a.samples, 100);
  EXPECT_EQ(a.gram, sample.a.gram);
  EXPECT_EQ(a.square_sums, sample.a.square_sums);
  const InputInfo* b = file.input_of("b.down");
  EXPECT_EQ(*b, (InputInfo{"b", 5, 100, false}));
  EXPECT_TRUE(file.read(*b).gram.empty());
  EXPECT_EQ(file.read_square_sums(*b).square_sums, sample.b.square_sums);
  EXPECT_EQ(file.read(*file.fisher_of("a.up"), 2).sums, sample.fisher.sums);
}

TEST(StatisticsWriter, RefusesWhatDoesNotFit) {
  TempDir dir;
  Sample sample(2);
  StatisticsContents contents = sample.contents();
  contents.weights["x"] = "c";
  EXPECT_THAT([&] { StatisticsWriter(dir / "s", contents); },
              ThrowsMessage<InvalidArgument>(HasSubstr("'x' has the input 'c'")));
  contents = sample.contents();
  contents.inputs.push_back({"a", 3, 1, true});
  EXPECT_THAT([&] { StatisticsWriter(dir / "s", contents); },
              ThrowsMessage<InvalidArgument>(HasSubstr("'a' is there twice")));
  contents = sample.contents();
  contents.weights["\xff"] = "a";
  EXPECT_THAT([&] { StatisticsWriter(dir / "s", contents); },
              ThrowsMessage<InvalidArgument>(HasSubstr("not UTF-8")));

  StatisticsWriter writer(dir / "s", sample.contents());
  EXPECT_THROW(writer.add("c", sample.a), InvalidArgument);
  EXPECT_THROW(writer.add("b", sample.a), InvalidArgument);
  EXPECT_THROW(writer.commit(), InvalidArgument);
  sample.a.gram[1] += 1;
  EXPECT_THAT([&] { writer.add("a", sample.a); },
              ThrowsMessage<InvalidArgument>(HasSubstr("not symmetric")));
  sample.fisher.sums[4] = kNan;
  EXPECT_THAT([&] { writer.add_fisher("a.up", sample.fisher); },
              ThrowsMessage<InvalidArgument>(HasSubstr("Fisher block 1 has nan at (0, 0)")));
  EXPECT_FALSE(std::filesystem::exists(dir / "s"));
}

TEST(MergeStatistics, AnyOrderGivesTheSumOfAll) {
  TempDir dir;
  std::vector<std::filesystem::path> shards;
  Sample sum(0, 1);
  for (double& value : sum.a.gram) value = 0;
  for (unsigned i = 0; i < 5; ++i) {
    const Sample sample(10 + i, 20 + 30 * i);
    shards.push_back(dir / std::to_string(i));
    sample.write(shards.back());
    for (std::size_t k = 0; k < sum.a.gram.size(); ++k) sum.a.gram[k] += sample.a.gram[k];
  }
  std::vector<InputStatistics> merged;
  for (int order = 0; order < 6; ++order) {
    merge_statistics(shards, dir / "all", 2);
    const StatisticsFile file = StatisticsFile::open(dir / "all");
    EXPECT_EQ(file.contents().weights.size(), 3u);
    EXPECT_EQ(file.input_of("b.down")->samples, 400);
    EXPECT_EQ(file.read(*file.fisher_of("a.up")).samples, 400);
    merged.push_back(file.read(*file.input_of("a.up")));
    std::ranges::next_permutation(shards);
  }
  for (const InputStatistics& other : merged) {
    for (std::size_t k = 0; k < other.gram.size(); ++k) {
      const double ulp = std::fabs(merged[0].gram[k]) * 0x1p-52;
      ASSERT_NEAR(other.gram[k], merged[0].gram[k], ulp);
      ASSERT_NEAR(other.gram[k], sum.a.gram[k], 1e-9);
    }
  }
}

TEST(MergeStatistics, CancellationLosesNothing) {
  TempDir dir;
  std::vector<std::filesystem::path> shards;
  for (const double off : {1e16, 1.0, -1e16}) {
    shards.push_back(dir / std::to_string(off));
    StatisticsWriter writer(shards.back(),
                            {StatisticsSet::calibration, {{"a", 2, 1, true}}, {}, {}});
    writer.add("a", {2, 1, {2e16, off, off, 2e16}, {2e16, 2e16}});
    writer.commit();
  }
  for (int order = 0; order < 6; ++order) {
    merge_statistics(shards, dir / "all");
    const StatisticsFile file = StatisticsFile::open(dir / "all");
    EXPECT_EQ(file.read(file.contents().inputs[0]).gram[1], 1.0);
    std::ranges::next_permutation(shards);
  }
}

TEST(MergeStatistics, UnitesLayersAndRefusesMisfits) {
  TempDir dir;
  auto write = [&](const char* name, StatisticsSet set, const char* input, std::int64_t cols) {
    StatisticsWriter writer(dir / name, {set, {{input, cols, 7, false}}, {{"w", input}}, {}});
    writer.add(input, {cols, 7, {}, std::vector<double>(static_cast<std::size_t>(cols), 1.5)});
    writer.commit();
    return dir / name;
  };
  const auto a = write("a", StatisticsSet::calibration, "x", 3);
  const auto merge = [&](std::vector<std::filesystem::path> shards) {
    merge_statistics(shards, dir / "out");
  };
  const auto held = write("held", StatisticsSet::held_out, "x", 3);
  EXPECT_THAT(
      [&] {
        merge({a, held});
      },
      ThrowsMessage<InvalidArgument>(HasSubstr("calibration and held_out")));
  const auto wide = write("wide", StatisticsSet::calibration, "x", 4);
  EXPECT_THAT([&] { merge({a, wide}); }, ThrowsMessage<InvalidArgument>(HasSubstr("'x'")));
  const auto other = write("other", StatisticsSet::calibration, "y", 3);
  EXPECT_THAT(
      [&] {
        merge({a, other});
      },
      ThrowsMessage<InvalidArgument>(HasSubstr("'w' has the input 'x' and 'y'")));
  EXPECT_THROW(merge({}), InvalidArgument);
  EXPECT_THAT([&] { merge({a, dir / "out" / ".." / "a"}); }, ::testing::Throws<FileError>());
  EXPECT_THAT([&] { merge_statistics(std::vector{a}, a); },
              ThrowsMessage<InvalidArgument>(HasSubstr("choose another output")));
  EXPECT_FALSE(std::filesystem::exists(dir / "out"));
}

// A file in pieces, to be damaged and put together again.
struct Pieces {
  std::vector<TensorInfo> tensors;
  std::vector<std::vector<std::byte>> data;
  SafetensorsMetadata metadata = {
      {"coppice.statistics", "1"}, {"set", "calibration"}, {"weights", R"({"w":"x"})"}};

  template <typename T>
  void add(const std::string& name, Dtype dtype, std::vector<std::int64_t> shape,
           std::vector<T> values) {
    const auto bytes = std::as_bytes(std::span(values));
    tensors.push_back({name, dtype, std::move(shape)});
    data.emplace_back(bytes.begin(), bytes.end());
  }
  void replace(std::size_t at, const std::function<void()>& add_another) {
    add_another();
    std::swap(tensors[at], tensors.back());
    std::swap(data[at], data.back());
    tensors.pop_back();
    data.pop_back();
  }
  void poke(std::size_t tensor, std::size_t at, double value) {
    std::memcpy(data[tensor].data() + 8 * at, &value, 8);
  }
  void write(const std::filesystem::path& path) const {
    SafetensorsWriter writer(path, tensors, metadata);
    for (std::size_t i = 0; i < tensors.size(); ++i) writer.append(i, data[i]);
    writer.commit();
  }
};

enum : std::size_t { kGram, kSums, kCount, kFisher, kFisherCount };

Pieces good_pieces() {
  Pieces p;
  p.add<double>("x.gram", Dtype::f64, {2, 2}, {4, 1, 1, 9});
  p.add<double>("x.square_sums", Dtype::f64, {2}, {4, 9});
  p.add<std::int64_t>("x.samples", Dtype::i64, {1}, {3});
  p.add<float>("w.fisher", Dtype::f32, {1, 2, 2}, {1, 0.5, 0.5, 1});
  p.add<std::int64_t>("w.fisher_samples", Dtype::i64, {1}, {3});
  return p;
}

void read_all(const std::filesystem::path& path) {
  const StatisticsFile file = StatisticsFile::open(path);
  for (const InputInfo& input : file.contents().inputs) file.read(input);
  for (const FisherInfo& fisher : file.contents().fisher) file.read(fisher);
}

TEST(StatisticsFile, EveryDamageHasItsError) {
  struct Case {
    const char* message;
    std::function<void(Pieces&)> damage;
  };
  const auto samples = [](std::vector<std::int64_t> values, Dtype dtype = Dtype::i64) {
    return [=](Pieces& p) {
      p.replace(kCount, [&] { p.add("x.samples", dtype, {std::ssize(values)}, values); });
    };
  };
  const auto poke = [](std::size_t tensor, std::size_t at, double value) {
    return [=](Pieces& p) { p.poke(tensor, at, value); };
  };
  const auto drop = [](std::size_t tensor) {
    return [=](Pieces& p) {
      p.tensors.erase(p.tensors.begin() + static_cast<std::ptrdiff_t>(tensor));
      p.data.erase(p.data.begin() + static_cast<std::ptrdiff_t>(tensor));
    };
  };
  const auto meta = [](const char* key, const char* value) {
    return [=](Pieces& p) { p.metadata[key] = value; };
  };
  const std::vector<Case> cases = {
      {"no 'coppice.statistics'", [](Pieces& p) { p.metadata.erase("coppice.statistics"); }},
      {"version '2'", meta("coppice.statistics", "2")},
      {"'set' is 'test'", meta("set", "test")},
      {"no JSON object", meta("weights", "[1]")},
      {"no JSON object", meta("weights", "{\"w\":")},
      {"no name for 'w'", meta("weights", R"({"w":1})")},
      {"'w' has the input 'y', which is not there", meta("weights", R"({"w":"y"})")},
      {"'noise' is not known", [](Pieces& p) { p.add<float>("noise", Dtype::f32, {1}, {1}); }},
      {"'x.square_sums' is absent", drop(kSums)},
      {"'x.samples' is absent", drop(kCount)},
      {"'w.fisher' is absent", drop(kFisher)},
      {"'w.fisher_samples' is absent", drop(kFisherCount)},
      {"'x.samples' is [2], needs to be [1]", samples({1, 2})},
      {"'x.samples' is U64, needs to be I64", samples({3}, Dtype::u64)},
      {"has 0 samples", samples({0})},
      {"has -5 samples", samples({-5})},
      {"'x.gram' is [4], needs to be [2, 2]",
       [](Pieces& p) {
         p.replace(kGram, [&] { p.add<double>("x.gram", Dtype::f64, {4}, {4, 1, 1, 9}); });
       }},
      {"'x.gram' is F32, needs to be F64",
       [](Pieces& p) {
         p.replace(kGram, [&] { p.add<float>("x.gram", Dtype::f32, {2, 2}, {4, 1, 1, 9}); });
       }},
      {"'w.fisher' is [2, 2], needs to be [0, 0, 0]",
       [](Pieces& p) {
         p.replace(kFisher, [&] { p.add<float>("w.fisher", Dtype::f32, {2, 2}, {1, 0, 0, 1}); });
       }},
      {"not symmetric: 1 at (1, 0), 1.5 at (0, 1)", poke(kGram, 1, 1.5)},
      {"the Gram matrix has nan at (1, 0)", poke(kGram, 2, kNan)},
      {"the Gram matrix has inf at (1, 0)", poke(kGram, 1, HUGE_VAL)},
      {"column 0 is 4, but 5 in the Gram matrix", poke(kGram, 0, 5)},
      {"the sum of squares of column 1 is -9", poke(kSums, 1, -9)},
      {"the sum of squares of column 1 is nan", poke(kSums, 1, kNan)},
      {"no sum of products: 7 at (1, 0)",
       [](Pieces& p) {
         p.poke(kGram, 1, 7);
         p.poke(kGram, 2, 7);
       }},
  };
  TempDir dir;
  good_pieces().write(dir / "good");
  read_all(dir / "good");
  for (const Case& c : cases) {
    Pieces pieces = good_pieces();
    c.damage(pieces);
    pieces.write(dir / "bad");
    EXPECT_THAT([&] { read_all(dir / "bad"); }, ThrowsMessage<FileError>(HasSubstr(c.message)));
    EXPECT_THAT([&] { read_all(dir / "bad"); },
                ThrowsMessage<FileError>(HasSubstr((dir / "bad").string())));
    EXPECT_THROW(merge_statistics(std::vector{dir / "bad"}, dir / "out"), FileError) << c.message;
  }
}

// An input of 1e-30: its square is 0 in fp32, its product with an input of 1 is not.
TEST(StatisticsFile, ProductsMayOutliveSquaresThatAreTooSmallForFp32) {
  const auto with_product = [](double product) {
    Pieces pieces = good_pieces();
    for (std::size_t at : {1, 2}) pieces.poke(kGram, at, product);
    pieces.poke(kGram, 3, 0);
    pieces.poke(kSums, 1, 0);
    return pieces;
  };
  TempDir dir;
  with_product(3e-30).write(dir / "small");
  read_all(dir / "small");
  with_product(1e-15).write(dir / "large");
  EXPECT_THAT([&] { read_all(dir / "large"); },
              ThrowsMessage<FileError>(HasSubstr("no sum of products: 1e-15 at (1, 0)")));
}

TEST(StatisticsFile, EveryTruncationIsAnError) {
  TempDir dir;
  good_pieces().write(dir / "good");
  const std::string bytes = testing::read_file(dir / "good");
  for (std::size_t length = 0; length < bytes.size(); ++length)
    EXPECT_THROW(StatisticsFile::parse(std::as_bytes(std::span(bytes.data(), length))), FileError);
}

}  // namespace
}  // namespace coppice
