#include "bench/finished_lines.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <fstream>

#include "bench/fields.h"
#include "coppice/error.h"

namespace coppice::bench {
namespace {

constexpr std::array kKey = {"name", "pattern", "dtype", "layout", "tokens", "cols", "rows"};

std::string key_of(const BenchCase& c) {
  return fmt::format("{},{},{},{},{},{},{}", c.name, c.pattern.to_string(), dtype_name(c.dtype),
                     layout_name(c.layout), c.tokens, c.cols, c.rows);
}

std::size_t place_of(const std::vector<std::string>& names, std::string_view name) {
  return static_cast<std::size_t>(std::ranges::find(names, name) - names.begin());
}

}  // namespace

FinishedLines::FinishedLines(const std::filesystem::path& file, const std::string& header)
    : lines_{header} {
  if (!std::filesystem::exists(file)) return;
  std::ifstream in(file);
  if (!in || std::filesystem::is_directory(file))
    throw FileError(fmt::format("cannot read '{}'", file.string()));
  const std::vector<std::string> names = csv_split(header);
  const std::size_t check = place_of(names, "check");
  int number = 0;
  for (std::string line; std::getline(in, line);) {
    ++number;
    const std::vector<std::string> fields = csv_split(line);
    if (number == 1 ? line != header : fields.size() != names.size())
      throw FileError(fmt::format(
          "'{}', line {}, is not of this version of coppice bench: start a new file instead",
          file.string(), number));
    if (number == 1 || (check < fields.size() && fields[check] == "FAILED")) continue;
    std::vector<std::string> key;
    for (const char* name : kKey) key.push_back(fields.at(place_of(names, name)));
    cases_.insert(fmt::format("{}", fmt::join(key, ",")));
    lines_.push_back(line);
  }
}

bool FinishedLines::has(const BenchCase& c) const { return cases_.contains(key_of(c)); }

}  // namespace coppice::bench
