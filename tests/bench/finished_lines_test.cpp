// Which cases a CSV file has already.
#include "bench/finished_lines.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "coppice/error.h"
#include "files.h"

namespace coppice::bench {
namespace {

using ::testing::HasSubstr;

constexpr const char* kHeader = "name,pattern,dtype,layout,tokens,cols,rows,kernel,us,check";

BenchCase some_case(const char* name, const char* pattern, std::int64_t tokens) {
  return {.pattern = Pattern::parse(pattern),
          .rows = 64,
          .cols = 128,
          .tokens = tokens,
          .dtype = Dtype::f16,
          .layout = Layout::feature_major,
          .name = name};
}

TEST(FinishedLines, KnowsTheCasesOfAFile) {
  testing::TempDir dir;
  testing::write_file(dir / "grid.csv",
                      std::string(kHeader) +
                          "\nM1,8:32,F16,feature,1,128,64,\"lists, 4 tokens\",2.5,ok\n"
                          "M2,8:32,F16,feature,7,128,64,lists,2.5,FAILED\n");
  const FinishedLines lines(dir / "grid.csv", kHeader);
  ASSERT_EQ(lines.lines().size(), 2u);
  EXPECT_EQ(lines.lines()[0], kHeader);
  EXPECT_THAT(lines.lines()[1], HasSubstr("\"lists, 4 tokens\""));
  EXPECT_TRUE(lines.has(some_case("M1", "8:32", 1)));
  EXPECT_FALSE(lines.has(some_case("M2", "8:32", 7))) << "a wrong product is measured again";
  EXPECT_FALSE(lines.has(some_case("M1", "8:32", 2)));
  EXPECT_FALSE(lines.has(some_case("M3", "8:32", 1)));
  EXPECT_FALSE(lines.has(some_case("M1", "vw4/8:32", 1)));
  BenchCase other = some_case("M1", "8:32", 1);
  other.dtype = Dtype::f32;
  EXPECT_FALSE(lines.has(other));
  other = some_case("M1", "8:32", 1);
  other.layout = Layout::token_major;
  EXPECT_FALSE(lines.has(other));
}

TEST(FinishedLines, OfNoFileAreTheHeader) {
  testing::TempDir dir;
  const FinishedLines none(dir / "nothing.csv", kHeader);
  EXPECT_EQ(none.lines(), std::vector<std::string>{kHeader});
  EXPECT_FALSE(none.has(some_case("M1", "8:32", 1)));
  testing::write_file(dir / "empty.csv", "");
  EXPECT_EQ(FinishedLines(dir / "empty.csv", kHeader).lines().size(), 1u);
}

TEST(FinishedLines, RefuseAnotherFile) {
  testing::TempDir dir;
  testing::write_file(dir / "other.csv", "name,us\nM1,3\n");
  testing::write_file(dir / "cut.csv", std::string(kHeader) + "\nM1,8:32,F16\n");
  for (const char* file : {"other.csv", "cut.csv"}) {
    try {
      const FinishedLines lines(dir / file, kHeader);
      FAIL() << file;
    } catch (const FileError& error) {
      EXPECT_THAT(error.what(), HasSubstr(file));
      EXPECT_THAT(error.what(), HasSubstr("new file"));
    }
  }
  EXPECT_THROW(FinishedLines(dir.path(), kHeader), FileError);
}

}  // namespace
}  // namespace coppice::bench
