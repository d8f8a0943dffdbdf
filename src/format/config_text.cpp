#include "format/config_text.h"

#include <algorithm>
#include <cstddef>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

namespace coppice {
namespace {

constexpr std::string_view kSpace = " \t\n\r";

// `at` is at the opening quote. @returns the position after the closing one, or the end.
std::size_t after_string(std::string_view text, std::size_t at) {
  for (++at; at < text.size() && text[at] != '"'; ++at)
    if (text[at] == '\\') ++at;
  return std::min(at + 1, text.size());
}

// The position of the comma or bracket that ends the value at `at`, or the end.
std::size_t after_value(std::string_view text, std::size_t at) {
  int depth = 0;
  while (at < text.size()) {
    const char c = text[at];
    if (c == '"') {
      at = after_string(text, at);
      continue;
    }
    if (depth == 0 && (c == ',' || c == '}')) break;
    if (c == '{' || c == '[') ++depth;
    if (c == '}' || c == ']') --depth;
    ++at;
  }
  return at;
}

// A member of the object: from the quote of its key to the end of its value.
struct Member {
  std::size_t begin, end;
  std::string key;
};

std::vector<Member> members(std::string_view text) {
  std::vector<Member> found;
  std::size_t at = text.find('{');
  while (at < text.size() && text[at] != '}') {
    const std::size_t begin = text.find_first_not_of(kSpace, at + 1);
    if (begin >= text.size() || text[begin] != '"') break;  // the object is empty
    const std::size_t key_end = after_string(text, begin);
    at = after_value(text, key_end);
    const std::size_t end = text.find_last_not_of(kSpace, at - 1) + 1;
    found.push_back(
        {begin, end,
         nlohmann::json::parse(text.substr(begin, key_end - begin)).get<std::string>()});
  }
  return found;
}

}  // namespace

std::string without_nonfinite(std::string_view text) {
  constexpr std::string_view kNumbers[] = {"-Infinity", "Infinity", "NaN"};
  std::string result;
  result.reserve(text.size());
  for (std::size_t at = 0; at < text.size();) {
    std::size_t end = at + 1;
    if (text[at] == '"') {
      end = after_string(text, at);
    } else {
      const auto* number = std::ranges::find_if(
          kNumbers, [&](std::string_view name) { return text.substr(at).starts_with(name); });
      if (number != std::end(kNumbers)) {
        // Spaces, so that what stands beside it does not become part of another value.
        result += " null ";
        at += number->size();
        continue;
      }
    }
    result += text.substr(at, end - at);
    at = end;
  }
  return result;
}

std::string without_member(std::string_view text, std::string_view key) {
  const std::vector<Member> all = members(text);
  if (all.empty()) return std::string(text);
  std::string result(text.substr(0, all.front().begin));
  bool first = true;
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (all[i].key == key) continue;
    // With a member goes the comma before it.
    const std::size_t begin = std::exchange(first, false) ? all[i].begin : all[i - 1].end;
    result += text.substr(begin, all[i].end - begin);
  }
  return result += text.substr(all.back().end);
}

std::string with_member(std::string_view text, std::string_view key, std::string_view value) {
  std::string result = without_member(text, key);
  const std::vector<Member> all = members(result);
  std::string member = "\n  " + nlohmann::json(key).dump() + ": ";
  for (const char c : value) {
    member += c;
    if (c == '\n') member += "  ";
  }
  if (all.empty())
    result.insert(result.find('{') + 1, member + "\n");
  else
    result.insert(all.back().end, "," + member);
  return result;
}

}  // namespace coppice
