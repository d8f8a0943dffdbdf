// Lists of shapes: bench/shapes.csv, with the columns set,name,tokens,cols,rows.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace coppice::bench {

struct Shape {
  std::string set, name;
  std::int64_t tokens = 1, cols = 0, rows = 0;
};

/// Parses the text of a shapes file. Throws InvalidArgument naming the line.
std::vector<Shape> parse_shapes(std::string_view text);

/// Reads a shapes file. Throws FileError if it cannot be read, InvalidArgument if malformed.
std::vector<Shape> read_shapes(const std::filesystem::path& file);

}  // namespace coppice::bench
