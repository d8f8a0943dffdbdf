#include "table.h"

#include <algorithm>

namespace coppice::cli {
namespace {

// Columns on a terminal: code points, not bytes (tensor names may hold any UTF-8).
std::size_t width(const std::string& text) {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xc0) != 0x80;
  }));
}

// A hostile tensor name must not move the cursor or break the row.
std::string printable(std::string text) {
  for (char& c : text)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  return text;
}

void append(std::string& line, const std::string& cell, std::size_t to, Align align) {
  std::size_t pad = to - std::min(to, width(cell));
  if (align == Align::right) line.append(pad, ' ');
  line += cell;
  if (align == Align::left) line.append(pad, ' ');
}

}  // namespace

void Table::add(std::vector<std::string> cells) {
  cells.resize(columns_.size());
  for (auto& cell : cells) cell = printable(std::move(cell));
  rows_.push_back(std::move(cells));
}

void Table::add_total(std::vector<std::string> cells) {
  cells.resize(columns_.size());
  for (auto& cell : cells) cell = printable(std::move(cell));
  totals_.push_back(std::move(cells));
}

std::string Table::to_string() const {
  std::vector<std::size_t> widths;
  for (std::size_t c = 0; c < columns_.size(); ++c) {
    std::size_t widest = width(columns_[c].title);
    for (const auto* rows : {&rows_, &totals_})
      for (const auto& row : *rows) widest = std::max(widest, width(row[c]));
    widths.push_back(widest);
  }
  std::string out;
  auto emit = [&](auto&& cell) {
    std::string line;
    for (std::size_t c = 0; c < columns_.size(); ++c) {
      if (c > 0) line += "  ";
      append(line, cell(c), widths[c], columns_[c].align);
    }
    line.erase(line.find_last_not_of(' ') + 1);
    out += line + "\n";
  };
  auto rule = [&] { emit([&](std::size_t c) { return std::string(widths[c], '-'); }); };
  emit([&](std::size_t c) { return columns_[c].title; });
  rule();
  for (const auto& row : rows_) emit([&](std::size_t c) { return row[c]; });
  if (!totals_.empty()) rule();
  for (const auto& row : totals_) emit([&](std::size_t c) { return row[c]; });
  return out;
}

}  // namespace coppice::cli
