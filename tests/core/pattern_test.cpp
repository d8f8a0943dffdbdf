#include "coppice/pattern.h"

#include <gtest/gtest.h>

#include <random>

#include "coppice/error.h"

namespace coppice {
namespace {

TEST(Pattern, ParsesEverySpelling) {
  EXPECT_EQ(Pattern::parse("dense"), Pattern{});
  EXPECT_EQ(Pattern::parse("2:4"), (Pattern{1, 1, 2, 4, 0}));
  EXPECT_EQ(Pattern::parse("3:32"), (Pattern{1, 1, 3, 32, 0}));
  EXPECT_EQ(Pattern::parse("vw32/8:32"), (Pattern{32, 1, 8, 32, 0}));
  EXPECT_EQ(Pattern::parse("bw4x8/8:32"), (Pattern{4, 8, 8, 32, 0}));
  EXPECT_EQ(Pattern::parse("64:2:8"), (Pattern{64, 1, 4, 8, 2}));
  EXPECT_EQ(Pattern::parse("64:3/6:8"), (Pattern{64, 1, 6, 8, 3}));
}

TEST(Pattern, NormalisesEqualMeanings) {
  EXPECT_EQ(Pattern::parse("64:2:4"), Pattern::parse("2:4"));
  EXPECT_EQ(Pattern::parse("1:2:8"), Pattern::parse("2:8"));
  EXPECT_EQ(Pattern::parse("vw1/2:4"), Pattern::parse("2:4"));
  EXPECT_EQ(Pattern::parse("bw1x1/2:4"), Pattern::parse("2:4"));
  EXPECT_EQ(Pattern::parse("bw32x1/8:32"), Pattern::parse("vw32/8:32"));
  EXPECT_EQ(Pattern::parse("4:4"), Pattern::parse("dense"));
  EXPECT_EQ(Pattern::parse("64:4:8"), Pattern::parse("vw64/4:8"));
  EXPECT_EQ(Pattern::parse("64:2/4:8").to_string(), "64:2:8");
}

TEST(Pattern, Kinds) {
  EXPECT_EQ(Pattern::parse("dense").kind(), PatternKind::dense);
  EXPECT_EQ(Pattern::parse("2:4").kind(), PatternKind::element);
  EXPECT_EQ(Pattern::parse("vw32/8:32").kind(), PatternKind::vector);
  EXPECT_EQ(Pattern::parse("bw1x4/8:32").kind(), PatternKind::block);
  EXPECT_EQ(Pattern::parse("64:2:8").kind(), PatternKind::vnm);
  EXPECT_TRUE(Pattern::parse("2:4").is_two_four());
  EXPECT_TRUE(Pattern::parse("64:2:8").fits_sparse_tensor_cores());
  EXPECT_TRUE(Pattern::parse("2:4").fits_sparse_tensor_cores());
  EXPECT_FALSE(Pattern::parse("64:3/6:8").fits_sparse_tensor_cores());
  EXPECT_FALSE(Pattern::parse("2:8").fits_sparse_tensor_cores());
}

TEST(Pattern, Density) {
  EXPECT_DOUBLE_EQ(Pattern::parse("dense").density(), 1);
  EXPECT_DOUBLE_EQ(Pattern::parse("64:2:8").density(), 0.25);
  EXPECT_DOUBLE_EQ(Pattern::parse("64:3/6:8").density(), 0.375);
  EXPECT_DOUBLE_EQ(Pattern::parse("bw4x4/3:32").sparsity(), 1 - 3.0 / 32);
}

TEST(Pattern, RefusesWithTheGrammar) {
  for (const char* text : {"",
                           "2",
                           "2:",
                           ":4",
                           "5:4",
                           "0:4",
                           "2:257",
                           "2:4:",
                           "2:4 ",
                           " 2:4",
                           "+2:4",
                           "-2:4",
                           "2:4:8:16",
                           "vw/2:4",
                           "vw32",
                           "vw32/2",
                           "vw32/2:4:8",
                           "vw0/2:4",
                           "vw1025/2:4",
                           "bw4/2:4",
                           "bw4x/2:4",
                           "bw4x0/2:4",
                           "bw4x2000/2:4",
                           "64:5:8",
                           "64:2:3",
                           "64:0:8",
                           "64:7/6:8",
                           "64:3/9:8",
                           "64:3/:8",
                           "1025:2:8",
                           "99999999999:4",
                           "Dense",
                           "2:4\n",
                           "64:2/:8",
                           "0:2:8"}) {
    try {
      Pattern::parse(text);
      ADD_FAILURE() << "accepted '" << text << "'";
    } catch (const InvalidArgument& e) {
      EXPECT_NE(std::string(e.what()).find("vwL/N:M"), std::string::npos) << e.what();
    }
  }
}

TEST(Pattern, RoundTripsEveryValidPattern) {
  std::mt19937 random(7);
  auto pick = [&](int low, int high) { return std::uniform_int_distribution(low, high)(random); };
  for (int i = 0; i < 20000; ++i) {
    int group = pick(1, 256), kept = pick(1, group), inner = pick(0, kept);
    int block_cols = inner == 0 ? pick(1, 1024) : 1;
    Pattern p = Pattern::make(pick(1, 1024), block_cols, kept, group, inner);
    EXPECT_EQ(Pattern::parse(p.to_string()), p) << p.to_string();
    EXPECT_EQ(Pattern::from_json(p.to_json()), p) << p.to_json();
    EXPECT_GT(p.density(), 0);
    EXPECT_LE(p.density(), 1);
    EXPECT_FALSE(p.describe().empty());
  }
}

TEST(Pattern, JsonRefusesNonsense) {
  for (const char* text :
       {"", "[]", "{}", "{\"vec_rows\":1}", "null",
        R"({"vec_rows":1,"block_cols":1,"kept":5,"group":4,"inner_kept":0})",
        R"({"vec_rows":1e9,"block_cols":1,"kept":2,"group":4,"inner_kept":0})",
        R"({"vec_rows":-1,"block_cols":1,"kept":2,"group":4,"inner_kept":0})",
        R"({"pattern":"2:8","vec_rows":1,"block_cols":1,"kept":2,"group":4,"inner_kept":0})"})
    EXPECT_THROW(Pattern::from_json(text), InvalidArgument) << text;
}

}  // namespace
}  // namespace coppice
