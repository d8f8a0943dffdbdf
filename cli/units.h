// Numbers for people: short, with a unit, the same everywhere.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace coppice::cli {

/// "512 B", "90.9 MB", "8.00 GB": decimal units, three digits.
std::string human_bytes(double bytes);

/// "850 ns", "12.3 us", "4.56 ms", "1.20 s".
std::string human_seconds(double seconds);

/// "3:07" or "1:02:03", for an ETA.
std::string clock_time(double seconds);

/// "22713216" as "22.7 M"; below 10000 the number itself.
std::string human_count(double count);

/// 0.50125 as "50.1 %".
std::string percent(double fraction);

/// "1.87x"
std::string times_text(double factor);

/// "384 x 1536"
std::string shape_text(std::int64_t rows, std::int64_t cols);

/// "4096x1024" to (rows, cols); nothing if it is not two positive numbers.
std::optional<std::pair<std::int64_t, std::int64_t>> parse_shape(std::string_view text);

}  // namespace coppice::cli
