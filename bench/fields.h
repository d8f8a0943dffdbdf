// Named fields of a result, once: its CSV line and its JSON object cannot disagree.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "coppice/linear.h"

namespace coppice::bench {

/// Numbers and texts are told apart for JSON; `text` is what CSV shows.
struct Field {
  const char* name;
  nlohmann::json value;
  std::string text;
};

/// @param format of fmt, such as "{:.2f}".
Field number(const char* name, double value, const char* format);
Field whole(const char* name, std::int64_t value);
Field word(const char* name, const std::string& value);

/// "a,b,c": the names of the fields, and their texts; without a line end.
std::string csv_names(std::span<const Field> fields);
std::string csv_texts(std::span<const Field> fields);
nlohmann::ordered_json json_object(std::span<const Field> fields);

/// The texts of such a line. Quotes keep commas together and are dropped.
std::vector<std::string> csv_split(std::string_view line);

/// "feature" or "token".
std::string layout_name(Layout layout);

}  // namespace coppice::bench
