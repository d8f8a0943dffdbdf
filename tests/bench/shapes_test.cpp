// Shape files: what is read, and how a fault is named.
#include "bench/shapes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "coppice/error.h"
#include "files.h"

namespace coppice::bench {
namespace {

using ::testing::HasSubstr;

TEST(Shapes, HeaderCommentsEmptyLinesAndWindowsLineEnds) {
  const auto shapes = parse_shapes(
      "set,name,tokens,cols,rows\r\n"
      "# a comment\n"
      "\n"
      "llama,up,256,4096,11008\r\n"
      ",,1,2,3");
  ASSERT_EQ(shapes.size(), 2u);
  EXPECT_EQ(shapes[0].set, "llama");
  EXPECT_EQ(shapes[0].name, "up");
  EXPECT_EQ(shapes[0].tokens, 256);
  EXPECT_EQ(shapes[0].cols, 4096);
  EXPECT_EQ(shapes[0].rows, 11008);
  EXPECT_EQ(shapes[1].name, "");
  EXPECT_EQ(shapes[1].rows, 3);
  EXPECT_TRUE(parse_shapes("").empty());
}

TEST(Shapes, FaultsAreNamedWithTheirLine) {
  for (const char* line : {"a,b,1,2", "a,b,1,2,3,4", "a,b,1,2,", "a,b,0,2,3", "a,b,1,-2,3",
                           "a,b,1,2x,3", "a,b, 1,2,3", "a,b,1,2,99999999999999999999"}) {
    try {
      parse_shapes(std::string("# first\n") + line + "\n");
      FAIL() << line;
    } catch (const InvalidArgument& error) {
      EXPECT_THAT(error.what(), HasSubstr("line 2")) << line;
    }
  }
}

TEST(Shapes, AFileIsReadAndAMissingOneIsNamed) {
  testing::TempDir dir;
  testing::write_file(dir / "shapes.csv", "s,n,4,5,6\n");
  EXPECT_EQ(read_shapes(dir / "shapes.csv").at(0).cols, 5);
  std::filesystem::create_directory(dir / "nothing.dir");
  for (const char* name : {"nothing.csv", "nothing.dir"}) {
    try {
      read_shapes(dir / name);
      FAIL();
    } catch (const FileError& error) {
      EXPECT_THAT(error.what(), HasSubstr(name));
    }
  }
  testing::write_file(dir / "empty.csv", "# none\n");
  testing::write_file(dir / "damaged.csv", "s,n\n");
  for (const char* name : {"empty.csv", "damaged.csv"}) {
    try {
      read_shapes(dir / name);
      FAIL();
    } catch (const InvalidArgument& error) {
      EXPECT_THAT(error.what(), HasSubstr(name));
    }
  }
}

TEST(Shapes, TheRepositorysOwnFileIsValid) {
  const auto shapes = read_shapes(COPPICE_SOURCE_DIR "/bench/shapes.csv");
  EXPECT_GT(shapes.size(), 20u);
}

}  // namespace
}  // namespace coppice::bench
