#include "units.h"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <cmath>

namespace coppice::cli {
namespace {

// Three significant digits: 1.23, 12.3, 123.
std::string three_digits(double value) {
  int decimals = value < 9.995 ? 2 : value < 99.95 ? 1 : 0;
  return fmt::format("{:.{}f}", value, decimals);
}

}  // namespace

std::string human_bytes(double bytes) {
  if (bytes < 999.5) return fmt::format("{:.0f} B", bytes);
  constexpr std::array kUnits = {"kB", "MB", "GB", "TB", "PB"};
  std::size_t unit = 0;
  bytes /= 1000;
  while (bytes >= 999.5 && unit + 1 < kUnits.size()) {
    bytes /= 1000;
    ++unit;
  }
  return three_digits(bytes) + " " + kUnits[unit];
}

std::string human_seconds(double seconds) {
  if (seconds < 999.5e-9) return fmt::format("{:.0f} ns", seconds * 1e9);
  if (seconds < 999.5e-6) return three_digits(seconds * 1e6) + " us";
  if (seconds < 999.5e-3) return three_digits(seconds * 1e3) + " ms";
  return three_digits(seconds) + " s";
}

std::string clock_time(double seconds) {
  auto total = static_cast<std::int64_t>(seconds + 0.5);
  if (total >= 3600)
    return fmt::format("{}:{:02}:{:02}", total / 3600, total / 60 % 60, total % 60);
  return fmt::format("{}:{:02}", total / 60, total % 60);
}

std::string human_count(double count) {
  if (count < 10000) return fmt::format("{:.0f}", count);
  constexpr std::array kUnits = {"k", "M", "G", "T"};
  std::size_t unit = 0;
  count /= 1000;
  while (count >= 999.5 && unit + 1 < kUnits.size()) {
    count /= 1000;
    ++unit;
  }
  return three_digits(count) + " " + kUnits[unit];
}

std::string percent(double fraction) { return fmt::format("{:.1f} %", fraction * 100); }

std::string times_text(double factor) {
  return factor < 99.95 ? fmt::format("{:.2f}x", factor) : fmt::format("{:.0f}x", factor);
}

std::string shape_text(std::int64_t rows, std::int64_t cols) {
  return fmt::format("{} x {}", rows, cols);
}

std::optional<std::pair<std::int64_t, std::int64_t>> parse_shape(std::string_view text) {
  auto cross = text.find('x');
  if (cross == std::string_view::npos) return std::nullopt;
  std::int64_t rows = 0, cols = 0;
  auto number = [](std::string_view digits, std::int64_t& value) {
    auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    return error == std::errc{} && end == digits.data() + digits.size() && value > 0;
  };
  if (!number(text.substr(0, cross), rows) || !number(text.substr(cross + 1), cols))
    return std::nullopt;
  return std::pair{rows, cols};
}

}  // namespace coppice::cli
