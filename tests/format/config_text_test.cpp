// Changes to the text of config.json, held against changes to what it says.
#include "format/config_text.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <random>
#include <string>

namespace coppice {
namespace {

using Json = nlohmann::json;

const std::string kKey = "quantization_config";

// Random JSON text with numbers as Python writes them, and strings that look like JSON.
class RandomText {
 public:
  explicit RandomText(unsigned seed) : engine_(seed) {}

  std::string object(int depth) {
    std::string text = "{" + space();
    const int count = pick(0, 4);
    for (int i = 0; i < count; ++i)
      text +=
          (i > 0 ? "," : "") + space() + key() + space() + ":" + space() + value(depth) + space();
    return text + "}";
  }

 private:
  int pick(int low, int high) { return std::uniform_int_distribution(low, high)(engine_); }
  std::string one_of(std::initializer_list<const char*> texts) {
    return texts.begin()[pick(0, static_cast<int>(texts.size()) - 1)];
  }
  std::string space() { return one_of({"", "", " ", "\n", "\t \r\n"}); }
  std::string key() {
    return one_of({R"("a")", R"("b")", R"("quantization_config")", R"("quantization\u005fconfig")",
                   R"("quantization_config\"")", R"("NaN")", R"("{")", R"("")"});
  }
  std::string value(int depth) {
    if (depth > 0 && pick(0, 2) == 0) return object(depth - 1);
    if (depth > 0 && pick(0, 2) == 0) {
      std::string text = "[" + space();
      for (int i = pick(0, 3); i > 0; --i) text += value(depth - 1) + (i > 1 ? "," : "") + space();
      return text + "]";
    }
    return one_of({"NaN", "Infinity", "-Infinity", "1", "-0.5e3", "true", "null", R"("NaN")",
                   R"("\"NaN")", R"("\\")", R"("},\"a\": {")", R"("]")", R"("\u00e9")"});
  }

  std::mt19937 engine_;
};

Json parsed(const std::string& text) { return Json::parse(without_nonfinite(text)); }

TEST(ConfigText, ChangesOneMemberAndNothingElse) {
  const Json value = {{"quant_method", "coppice"}, {"weights", {{"a\nb", {1, 2}}}}};
  for (unsigned seed = 0; seed < 20'000; ++seed) {
    const std::string text = RandomText(seed).object(3) + "\n";
    Json expected = parsed(text);
    const std::string without = without_member(text, kKey);
    const bool had = expected.erase(kKey) > 0;
    ASSERT_EQ(parsed(without), expected) << text;
    if (!had) {
      ASSERT_EQ(without, text);
    }
    const std::string with = with_member(text, kKey, value.dump(2));
    expected[kKey] = value;
    ASSERT_EQ(parsed(with), expected) << text;
    if (without.find(':') != std::string::npos) {
      ASSERT_EQ(without_member(with, kKey), without) << text;
    }
  }
}

TEST(ConfigText, OnlyNumbersOutsideOfStringsBecomeNull) {
  EXPECT_EQ(parsed(R"({"NaN": "Infinity", "a\"": [NaN,-Infinity,Infinity], "b": "\\", "c": NaN})"),
            Json::parse(R"({"NaN": "Infinity", "a\"": [null,null,null], "b": "\\", "c": null})"));
}

// What is not even JSON is cut somewhere, but never read past its end.
TEST(ConfigText, EndsWithTheText) {
  const std::string text =
      R"({"a": [{"b": "c\"d"}, NaN], "quantization_config": {"x": 1}, "e": 2})";
  for (std::size_t size = 0; size <= text.size(); ++size)
    EXPECT_LE(without_nonfinite(text.substr(0, size)).size(), size + 3);
}

}  // namespace
}  // namespace coppice
