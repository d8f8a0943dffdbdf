// A field in CSV and JSON.
#include "bench/fields.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

namespace coppice::bench {
namespace {

TEST(Fields, NumbersAreRoundedInCsvAndExactInJson) {
  const std::vector<Field> fields = {number("time", 1.23456, "{:.2f}"), whole("tokens", -7),
                                     word("kernel", "wgmma 64x64")};
  EXPECT_EQ(csv_names(fields), "time,tokens,kernel");
  EXPECT_EQ(csv_texts(fields), "1.23,-7,wgmma 64x64");
  const auto json = json_object(fields);
  EXPECT_EQ(json["time"].get<double>(), 1.23456);
  EXPECT_EQ(json["tokens"].get<std::int64_t>(), -7);
  EXPECT_EQ(json["kernel"], "wgmma 64x64");
  // In the order given.
  EXPECT_EQ(json.dump().find("time"), 2u);
}

TEST(Fields, WordsAreQuotedWhereCsvNeedsIt) {
  const auto text = [](const std::string& value) { return word("w", value).text; };
  EXPECT_EQ(text(""), "");
  EXPECT_EQ(text("a b"), "a b");
  EXPECT_EQ(text("a,b"), "\"a,b\"");
  EXPECT_EQ(text("say \"so\""), "\"say \"\"so\"\"\"");
  EXPECT_EQ(text("two\nlines"), "\"two\nlines\"");
  EXPECT_EQ(word("w", "a,\"b\"").value, "a,\"b\"") << "JSON has its own quotes";
}

TEST(Fields, NothingIsAnEmptyLine) {
  EXPECT_EQ(csv_names({}), "");
  EXPECT_EQ(csv_texts({}), "");
  EXPECT_TRUE(json_object({}).empty());
}

TEST(Fields, NotANumberHasNoJson) {
  const std::vector<Field> fields = {
      number("error", std::numeric_limits<double>::quiet_NaN(), "{:.1e}")};
  EXPECT_EQ(csv_texts(fields), "nan");
  EXPECT_EQ(json_object(fields).dump(), "{\"error\":null}");
}

TEST(Fields, LayoutsHaveTheNamesOfTheOption) {
  EXPECT_EQ(layout_name(Layout::token_major), "token");
  EXPECT_EQ(layout_name(Layout::feature_major), "feature");
}

TEST(Fields, ALineIsSplitAgain) {
  const std::vector<Field> fields = {word("a", "x"), word("b", "1, 2"), word("c", ""),
                                     whole("d", 4)};
  EXPECT_EQ(csv_split(csv_texts(fields)), (std::vector<std::string>{"x", "1, 2", "", "4"}));
  EXPECT_EQ(csv_split(""), std::vector<std::string>{""});
}

}  // namespace
}  // namespace coppice::bench
