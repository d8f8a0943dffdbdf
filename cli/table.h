// A plain text table: aligned columns, a rule under the header, a rule above the totals.
#pragma once

#include <string>
#include <vector>

namespace coppice::cli {

enum class Align { left, right };

class Table {
 public:
  struct Column {
    std::string title;
    Align align = Align::right;
  };
  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}

  /// Adds a row; missing cells at its end are empty.
  void add(std::vector<std::string> cells);
  /// Adds a row below the final rule.
  void add_total(std::vector<std::string> cells);
  bool empty() const { return rows_.empty(); }

  /// All lines, each with a line break, nothing behind the last column.
  std::string to_string() const;

 private:
  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_, totals_;
};

}  // namespace coppice::cli
