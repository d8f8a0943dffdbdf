#include "bench/fields.h"

#include <fmt/format.h>

namespace coppice::bench {

Field number(const char* name, double value, const char* format) {
  return {name, value, fmt::format(fmt::runtime(format), value)};
}

Field whole(const char* name, std::int64_t value) {
  return {name, value, fmt::format("{}", value)};
}

Field word(const char* name, const std::string& value) {
  if (value.find_first_of(",\"\r\n") == std::string::npos) return {name, value, value};
  std::string quoted = "\"";
  for (const char c : value) quoted.append(c == '"' ? 2 : 1, c);
  return {name, value, quoted + '"'};
}

std::string csv_names(std::span<const Field> fields) {
  std::vector<std::string_view> names;
  for (const Field& field : fields) names.emplace_back(field.name);
  return fmt::format("{}", fmt::join(names, ","));
}

std::string csv_texts(std::span<const Field> fields) {
  std::vector<std::string_view> texts;
  for (const Field& field : fields) texts.emplace_back(field.text);
  return fmt::format("{}", fmt::join(texts, ","));
}

std::vector<std::string> csv_split(std::string_view line) {
  std::vector<std::string> fields(1);
  bool quoted = false;
  for (const char c : line) {
    if (c == '"')
      quoted = !quoted;
    else if (c == ',' && !quoted)
      fields.emplace_back();
    else
      fields.back() += c;
  }
  return fields;
}

nlohmann::ordered_json json_object(std::span<const Field> fields) {
  nlohmann::ordered_json object;
  for (const Field& field : fields) object[field.name] = field.value;
  return object;
}

std::string layout_name(Layout layout) {
  return layout == Layout::token_major ? "token" : "feature";
}

}  // namespace coppice::bench
