#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <fstream>
#include <iterator>
#include <system_error>

#include "coppice/error.h"
#include "coppice/pattern_choice.h"

namespace coppice {
namespace {

std::string_view trimmed(std::string_view text) {
  const auto begin = text.find_first_not_of(" \t\r");
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t\r") - begin + 1);
}

// A comma between quotes is text; a doubled quote inside of them ends and begins them again, which
// leaves both in the field: no column that is read has any.
std::vector<std::string_view> fields_of(std::string_view line) {
  std::vector<std::string_view> fields;
  std::size_t begin = 0;
  bool quoted = false;
  for (std::size_t i = 0; i < line.size(); ++i) {
    if (line[i] == '"') quoted = !quoted;
    if (line[i] != ',' || quoted) continue;
    fields.push_back(trimmed(line.substr(begin, i - begin)));
    begin = i + 1;
  }
  fields.push_back(trimmed(line.substr(begin)));
  return fields;
}

class Reader {
 public:
  explicit Reader(const std::string& name) : name_(name) {}

  std::vector<MeasuredSpeed> read(std::string_view csv) {
    for (std::size_t begin = 0; begin < csv.size();) {
      const std::size_t end = std::min(csv.find('\n', begin), csv.size());
      ++line_;
      const std::string_view line = trimmed(csv.substr(begin, end - begin));
      if (!line.empty() && line[0] != '#') take(fields_of(line));
      begin = end + 1;
    }
    if (width_ == 0) fault("has no line that names the columns");
    return std::move(entries_);
  }

 private:
  enum Column : std::uint8_t { kPattern, kRows, kCols, kTokens, kSpeedup, kDense, kColumns };
  // What `coppice bench` calls them on the CPU and on a GPU.
  struct Name {
    std::string_view name, other;
  };
  static constexpr std::array<Name, kColumns> kNames = {{{"pattern", ""},
                                                         {"rows", ""},
                                                         {"cols", ""},
                                                         {"tokens", ""},
                                                         {"speedup", "ratio"},
                                                         {"baseline_us", "dense_us"}}};
  static constexpr std::size_t kAbsent = static_cast<std::size_t>(-1);

  [[noreturn]] void fault(const std::string& what) const {
    throw FileError(
        fmt::format("{}, line {}: {}; needed is CSV with the columns pattern, rows, "
                    "cols, tokens and speedup",
                    name_, line_, what));
  }

  void take(const std::vector<std::string_view>& fields) {
    if (width_ == 0) return take_names(fields);
    if (fields.size() != width_)
      fault(fmt::format("has {} fields, the first line names {}", fields.size(), width_));
    MeasuredSpeed entry;
    try {
      entry.pattern = Pattern::parse(fields[columns_[kPattern]]);
    } catch (const InvalidArgument& error) {
      fault(error.what());
    }
    entry.rows = number<std::int64_t>(fields, kRows);
    entry.cols = number<std::int64_t>(fields, kCols);
    entry.tokens = number<std::int64_t>(fields, kTokens);
    entry.speedup = number<double>(fields, kSpeedup);
    if (columns_[kDense] != kAbsent) entry.dense_seconds = 1e-6 * number<double>(fields, kDense);
    entries_.push_back(entry);
  }

  void take_names(const std::vector<std::string_view>& fields) {
    for (std::size_t i = 0; i < kColumns; ++i) {
      auto found = std::ranges::find(fields, kNames[i].name);
      if (found == fields.end() && !kNames[i].other.empty())
        found = std::ranges::find(fields, kNames[i].other);
      if (found == fields.end() && i != kDense)
        fault(fmt::format("names no column '{}'", kNames[i].name));
      columns_[i] =
          found == fields.end() ? kAbsent : static_cast<std::size_t>(found - fields.begin());
    }
    width_ = fields.size();
  }

  template <typename Number>
  Number number(const std::vector<std::string_view>& fields, Column column) const {
    const std::string_view text = fields[columns_[column]];
    Number value{};
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size() || !(value > 0) ||
        !std::isfinite(static_cast<double>(value)))
      fault(fmt::format("{} is '{}', not a positive number", kNames[column].name, text));
    return value;
  }

  const std::string& name_;
  int line_ = 0;
  std::size_t width_ = 0;
  std::array<std::size_t, kColumns> columns_{};
  std::vector<MeasuredSpeed> entries_;
};

}  // namespace

SpeedTable SpeedTable::parse(std::string_view csv, const std::string& name) {
  SpeedTable table;
  table.entries_ = Reader(name).read(csv);
  return table;
}

SpeedTable SpeedTable::open(const std::filesystem::path& path) {
  // Opening a directory succeeds, and reading it throws an exception of the standard library.
  std::error_code ignored;
  std::ifstream in;
  if (!std::filesystem::is_directory(path, ignored)) in.open(path, std::ios::binary);
  if (!in.is_open()) throw FileError(fmt::format("{}: cannot be read", path.string()));
  const std::string text{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  return parse(text, path.string());
}

}  // namespace coppice
