#include "bench/shapes.h"

#include <fmt/format.h>

#include <charconv>
#include <fstream>
#include <iterator>
#include <system_error>

#include "coppice/error.h"

namespace coppice::bench {
namespace {

constexpr std::string_view kHeader = "set,name,tokens,cols,rows";

std::vector<std::string_view> split(std::string_view line, char separator) {
  std::vector<std::string_view> fields;
  for (std::size_t end; (end = line.find(separator)) != std::string_view::npos;) {
    fields.push_back(line.substr(0, end));
    line.remove_prefix(end + 1);
  }
  fields.push_back(line);
  return fields;
}

std::int64_t parse_size(std::string_view field, int line_number) {
  std::int64_t size = 0;
  const auto [end, error] = std::from_chars(field.data(), field.data() + field.size(), size);
  if (error != std::errc{} || end != field.data() + field.size() || size < 1)
    throw InvalidArgument(
        fmt::format("shapes, line {}: \"{}\" is not a positive whole number", line_number, field));
  return size;
}

}  // namespace

std::vector<Shape> parse_shapes(std::string_view text) {
  std::vector<Shape> shapes;
  int line_number = 0;
  for (std::string_view line : split(text, '\n')) {
    ++line_number;
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty() || line.starts_with('#') || line == kHeader) continue;
    const auto fields = split(line, ',');
    if (fields.size() != 5)
      throw InvalidArgument(fmt::format("shapes, line {}: {} fields, needs the 5 of \"{}\"",
                                        line_number, fields.size(), kHeader));
    shapes.push_back({std::string(fields[0]), std::string(fields[1]),
                      parse_size(fields[2], line_number), parse_size(fields[3], line_number),
                      parse_size(fields[4], line_number)});
  }
  return shapes;
}

std::vector<Shape> read_shapes(const std::filesystem::path& file) {
  // Opening a directory succeeds, and reading it throws an exception of the standard library.
  std::error_code ignored;
  std::ifstream in;
  if (!std::filesystem::is_directory(file, ignored)) in.open(file);
  if (!in.is_open()) throw FileError(fmt::format("cannot read the shapes file {}", file.string()));
  const std::string text{std::istreambuf_iterator<char>(in), {}};
  try {
    std::vector<Shape> shapes = parse_shapes(text);
    if (shapes.empty()) throw InvalidArgument("there are no shapes in it");
    return shapes;
  } catch (const InvalidArgument& error) {
    throw InvalidArgument(fmt::format("{}: {}", file.string(), error.what()));
  }
}

}  // namespace coppice::bench
