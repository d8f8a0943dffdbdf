#include "coppice/safetensors.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <string>
#include <utility>

#include "coppice/cancel.h"
#include "coppice/error.h"
#include "format/test_checkpoints.h"

namespace coppice {
namespace {

using ::testing::HasSubstr;
using testing::read_file;
using testing::TempDir;
using testing::write_file;

std::string file_of(const std::string& header, const std::string& data = {}) {
  std::string file;
  for (int i = 0; i < 8; ++i) file += static_cast<char>(header.size() >> (8 * i) & 0xff);
  return file + header + data;
}

SafetensorsFile parse(const std::string& file) {
  return SafetensorsFile::parse(std::as_bytes(std::span(file)), "test");
}

// What is said about a bad file; it must be one line, and a FileError.
std::string refusal(const std::string& file) {
  try {
    parse(file);
  } catch (const FileError& error) {
    std::string message = error.what();
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
    EXPECT_LT(message.size(), 600u);
    return message;
  }
  return "accepted";
}

std::string tensor(const std::string& name, const std::string& dtype, const std::string& shape,
                   const std::string& offsets) {
  return fmt::format(R"("{}":{{"dtype":"{}","shape":[{}],"data_offsets":[{}]}})", name, dtype,
                     shape, offsets);
}

std::string object(const std::vector<std::string>& fields) {
  return fmt::format("{{{}}}", fmt::join(fields, ","));
}

std::string bytes(std::size_t count) { return std::string(count, 'x'); }

TEST(Safetensors, ReadsTensorsInTheOrderOfTheirDataWithMetadata) {
  const std::string file =
      file_of("{" + tensor("b", "F32", "2,1", "4,12") + "," + tensor("a", "U8", "4", "0,4") +
                  R"(,"__metadata__":{"format":"pt"}}  )",
              "abcdefghijkl");
  const SafetensorsFile parsed = parse(file);
  ASSERT_EQ(parsed.tensors().size(), 2u);
  EXPECT_EQ(parsed.tensors()[0].name, "a");
  EXPECT_EQ(parsed.at("b").shape, (std::vector<std::int64_t>{2, 1}));
  EXPECT_EQ(parsed.at("b").dtype, Dtype::f32);
  EXPECT_EQ(std::memcmp(parsed.data(parsed.at("b")).data(), "efghijkl", 8), 0);
  EXPECT_EQ(parsed.metadata().at("format"), "pt");
  EXPECT_EQ(parsed.find("c"), nullptr);
  EXPECT_THROW(parsed.at("c"), FileError);
}

TEST(Safetensors, AcceptsEmptyFilesScalarsEmptyTensorsAndSubByteTypes) {
  EXPECT_EQ(parse(file_of("{}")).tensors().size(), 0u);
  const std::string file = file_of(
      "{" + tensor("scalar", "F64", "", "0,8") + "," + tensor("none", "F32", "3,0", "8,8") + "," +
          tensor("four", "F4", "2,3", "8,11") + "," + tensor("six", "F6_E2M3", "4", "11,14") + "}",
      bytes(14));
  EXPECT_EQ(parse(file).tensors().size(), 4u);
}

TEST(Safetensors, RefusesTruncatedFiles) {
  const std::string whole = file_of("{" + tensor("a", "U8", "16", "0,16") + "}", bytes(16));
  ASSERT_EQ(refusal(whole), "accepted");
  for (std::size_t size = 0; size < whole.size(); ++size)
    EXPECT_NE(refusal(whole.substr(0, size)), "accepted") << size;
  EXPECT_THAT(refusal(whole.substr(0, 3)), HasSubstr("too few"));
  EXPECT_THAT(refusal(whole.substr(0, 20)), HasSubstr("truncated"));
  EXPECT_THAT(refusal(whole.substr(0, whole.size() - 1)), HasSubstr("truncated"));
  EXPECT_THAT(refusal(whole + "y"), HasSubstr("17 bytes of data follow"));
}

TEST(Safetensors, RefusesOversizedHeaders) {
  EXPECT_THAT(refusal(std::string(8, '\xff') + "{}"), HasSubstr("limit"));
  std::string just_over = file_of("{}");
  const std::uint64_t length = kMaxSafetensorsHeader + 1;
  std::memcpy(just_over.data(), &length, 8);
  EXPECT_THAT(refusal(just_over), HasSubstr("limit"));
}

TEST(Safetensors, RefusesOverlapsAndHoles) {
  EXPECT_THAT(refusal(file_of(
                  "{" + tensor("a", "U8", "4", "0,4") + "," + tensor("b", "U8", "4", "2,6") + "}",
                  bytes(6))),
              HasSubstr("overlap"));
  EXPECT_THAT(refusal(file_of(
                  "{" + tensor("a", "U8", "4", "0,4") + "," + tensor("b", "U8", "4", "0,4") + "}",
                  bytes(4))),
              HasSubstr("overlap"));
  EXPECT_THAT(refusal(file_of(
                  "{" + tensor("a", "U8", "4", "0,4") + "," + tensor("b", "U8", "4", "5,9") + "}",
                  bytes(9))),
              HasSubstr("hole"));
  EXPECT_THAT(refusal(file_of("{" + tensor("a", "U8", "4", "4,8") + "}", bytes(8))),
              HasSubstr("hole"));
}

TEST(Safetensors, RefusesLyingShapesAndOffsets) {
  struct Lie {
    const char *dtype, *shape, *offsets, *message;
  };
  for (const Lie& lie : {
           Lie{"F32", "2", "0,4", "need 8"},
           Lie{"F32", "1,2,3", "0,4", "need 24"},
           Lie{"U8", "4", "4,0", "lies at bytes 4 to 0"},
           Lie{"U8", "4", "0,18446744073709551615", "lies at bytes"},
           Lie{"F32", "4611686018427387904,4", "0,4", "overflows"},
           Lie{"F32", "4294967296,4294967296", "0,4", "overflows"},
           Lie{"F64", "2305843009213693952", "0,4", "overflows"},
           Lie{"U8", "9223372036854775808", "0,4", "dimension of"},
           Lie{"U8", "-4", "0,4", "negative"},
           Lie{"U8", "4.0", "0,4", "fraction"},
           Lie{"U8", "4", "0,4,8", "a number"},
           Lie{"U8", "4", "0", "two data_offsets"},
           Lie{"F4", "3", "0,1", "whole bytes"},
           Lie{"F6_E3M2", "2", "0,1", "whole bytes"},
           Lie{"X9", "4", "0,4", "unknown dtype 'X9'"},
           Lie{"U8", "[4]", "0,4", "a list"},
           Lie{"U8", "\\\"4\\\"", "0,4", "not valid JSON"},
       })
    EXPECT_THAT(
        refusal(file_of(object({tensor("a", lie.dtype, lie.shape, lie.offsets)}), bytes(4))),
        HasSubstr(lie.message))
        << lie.shape << " " << lie.offsets;
}

TEST(Safetensors, RefusesDuplicates) {
  const std::string a = tensor("a", "U8", "0", "0,0");
  EXPECT_THAT(refusal(file_of("{" + a + "," + a + "}")), HasSubstr("tensor 'a' twice"));
  EXPECT_THAT(refusal(file_of(R"({"__metadata__":{"x":"1","x":"2"}})")), HasSubstr("'x' twice"));
  EXPECT_THAT(refusal(file_of(R"({"__metadata__":{},"__metadata__":{}})")), HasSubstr("twice"));
  EXPECT_THAT(
      refusal(file_of(R"({"a":{"dtype":"U8","dtype":"U8","shape":[0],"data_offsets":[0,0]}})")),
      HasSubstr("'dtype' twice"));
}

TEST(Safetensors, RefusesOtherJson) {
  for (const char* header : {"",
                             " {}",
                             "[]",
                             "null",
                             "{",
                             "{}{}",
                             R"({"a":1})",
                             R"({"a":null})",
                             R"({"a":[]})",
                             R"({"a":{}})",
                             R"({"a":{"dtype":"U8"}})",
                             R"({"__metadata__":{"x":1}})",
                             R"({"__metadata__":"x"})",
                             R"({"__metadata__":{"x":{}}})",
                             R"({"a":{"dtype":["U8"],"shape":[],"data_offsets":[0,1]}})",
                             R"({"a":{"dtype":"U8","shape":{},"data_offsets":[0,1]}})",
                             R"({"a":{"dtype":"U8","shape":[true],"data_offsets":[0,1]}})",
                             R"({"a":{"dtype":"U8","shape":[],"data_offsets":[0,0],"more":1}})",
                             "{\"\xff\":{}}",
                             "{\"\xc0\x80\":{}}"})
    EXPECT_NE(refusal(file_of(header)), "accepted") << header;
  const std::string deep = R"({"a":)" + std::string(100'000, '[');
  EXPECT_NE(refusal(file_of(deep)), "accepted");
}

TEST(Safetensors, MessagesShowHostileNamesInOneLine) {
  const std::string name = R"(line\nbreak\u001b[31m)" + bytes(5000);
  EXPECT_THAT(refusal(file_of(object({tensor(name, "F32", "3", "0,4")}), bytes(4))),
              HasSubstr("line?break?[31m"));
}

TEST(Safetensors, RefusesWhatIsNoRegularFile) {
  TempDir dir;
  EXPECT_THROW(SafetensorsFile::open(dir.path()), FileError);
  EXPECT_THROW(SafetensorsFile::open(dir / "absent"), FileError);
  EXPECT_THROW(SafetensorsFile::open("/dev/null"), FileError);
  write_file(dir / "empty", "");
  EXPECT_THROW(SafetensorsFile::open(dir / "empty"), FileError);
}

// Random tensors of all dtypes, written in random order and pieces.
TEST(Safetensors, WriterAndReaderRoundTripEveryDtype) {
  TempDir dir;
  std::mt19937 engine(7);
  auto pick = [&](int low, int high) { return std::uniform_int_distribution(low, high)(engine); };
  for (int round = 0; round < 30; ++round) {
    std::vector<TensorInfo> tensors;
    std::vector<std::string> data;
    for (int i = 0; i < 25; ++i) {
      TensorInfo info{fmt::format("t{}.\u00e9\"\\{}", i, pick(0, 9)),
                      static_cast<Dtype>(pick(0, static_cast<int>(Dtype::f8_e5m2fnuz))),
                      {}};
      for (int d = pick(0, 3); d > 0; --d) info.shape.push_back(pick(0, 5));
      if (dtype_bits(info.dtype) < 8) info.shape.push_back(4);
      std::string content(static_cast<std::size_t>(byte_count(info)), '\0');
      for (char& c : content) c = static_cast<char>(engine());
      tensors.push_back(info);
      data.push_back(content);
    }
    const SafetensorsMetadata metadata = {{"format", "pt"}, {"note", "\u00fc\n"}};
    SafetensorsWriter writer(dir / "f", tensors, metadata);
    std::vector<std::size_t> order(tensors.size()), done(tensors.size());
    for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
    std::ranges::shuffle(order, engine);
    for (bool more = true; std::exchange(more, false);) {
      for (std::size_t i : order) {
        auto rest = std::as_bytes(std::span(data[i])).subspan(done[i]);
        auto part =
            rest.first(std::min<std::size_t>(rest.size(), static_cast<std::size_t>(pick(0, 20))));
        writer.append(i, part);
        done[i] += part.size();
        more |= done[i] < data[i].size();
      }
    }
    writer.commit();
    EXPECT_EQ(std::filesystem::file_size(dir / "f"), writer.file_bytes());

    const SafetensorsFile file = SafetensorsFile::open(dir / "f");
    EXPECT_EQ(file.metadata(), metadata);
    ASSERT_EQ(file.tensors().size(), tensors.size());
    for (std::size_t i = 0; i < tensors.size(); ++i) {
      const StoredTensor& stored = file.at(tensors[i].name);
      EXPECT_EQ(static_cast<const TensorInfo&>(stored), tensors[i]);
      const auto content = file.data(stored);
      EXPECT_TRUE(std::ranges::equal(content, std::as_bytes(std::span(data[i]))));
      const auto address = reinterpret_cast<std::uintptr_t>(content.data());
      if (dtype_bits(stored.dtype) >= 8) {
        EXPECT_EQ(address % static_cast<unsigned>(dtype_bytes(stored.dtype)), 0u);
      }
    }
  }
}

TEST(Safetensors, WriterKeepsAnAlignedOrderByteForByte) {
  const std::string header = R"({"__metadata__":{"format":"pt"},)" +
                             tensor("z", "F32", "1", "0,4") + "," + tensor("a", "F16", "2", "4,8") +
                             "}";
  const std::string padded = header + std::string((8 - header.size() % 8) % 8, ' ');
  TempDir dir;
  SafetensorsWriter writer(dir / "f", {{"z", Dtype::f32, {1}}, {"a", Dtype::f16, {2}}},
                           {{"format", "pt"}});
  writer.append(0, std::as_bytes(std::span("1234", 4)));
  writer.append(1, std::as_bytes(std::span("5678", 4)));
  writer.commit();
  EXPECT_EQ(read_file(dir / "f"), file_of(padded, "12345678"));
}

TEST(Safetensors, WriterRefusesWhatCannotBeRead) {
  TempDir dir;
  using Tensors = std::vector<TensorInfo>;
  EXPECT_THROW(SafetensorsWriter(dir / "f", Tensors{{"a", Dtype::u8, {1}}, {"a", Dtype::u8, {1}}}),
               InvalidArgument);
  EXPECT_THROW(SafetensorsWriter(dir / "f", Tensors{{"__metadata__", Dtype::u8, {1}}}),
               InvalidArgument);
  EXPECT_THROW(SafetensorsWriter(dir / "f", Tensors{{"\xff", Dtype::u8, {1}}}), InvalidArgument);
  EXPECT_THROW(SafetensorsWriter(dir / "f", Tensors{{"a", Dtype::u8, {-1}}}), InvalidArgument);
  EXPECT_THROW(SafetensorsWriter(dir / "f", Tensors{{"a", Dtype::f4, {3}}}), InvalidArgument);
  EXPECT_TRUE(std::filesystem::is_empty(dir.path()));
}

TEST(Safetensors, UnfinishedOutputLeavesNothingAndOldFileStays) {
  TempDir dir;
  write_file(dir / "f", "old");
  const std::string data = "1234";
  {
    SafetensorsWriter writer(dir / "f", {{"a", Dtype::u8, {4}}, {"b", Dtype::u8, {4}}});
    writer.append(0, std::as_bytes(std::span(data)));
    EXPECT_THROW(writer.append(0, std::as_bytes(std::span(data))), InvalidArgument);
    EXPECT_THROW(writer.append(2, {}), InvalidArgument);
    EXPECT_THROW(writer.commit(), InvalidArgument);
    EXPECT_EQ(testing::read_tree(dir.path()).size(), 2u);
  }
  EXPECT_EQ(testing::read_tree(dir.path()), (std::map<std::string, std::string>{{"f", "old"}}));
}

TEST(Safetensors, CancelStopsAWriter) {
  TempDir dir;
  {
    SafetensorsWriter writer(dir / "f", {{"a", Dtype::u8, {4}}});
    request_cancel();
    EXPECT_THROW(writer.append(0, std::as_bytes(std::span("1234", 4))), Cancelled);
    clear_cancel();
  }
  EXPECT_TRUE(std::filesystem::is_empty(dir.path()));
}

TEST(Safetensors, UnwritableTargetIsAFileError) {
  EXPECT_THROW(SafetensorsWriter("/nonexistent/dir/f", {}), FileError);
  EXPECT_THROW(SafetensorsWriter("/proc/f", {}), FileError);
}

}  // namespace
}  // namespace coppice
