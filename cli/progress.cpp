#include "progress.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "console.h"
#include "units.h"

namespace coppice::cli {
namespace {

int terminal_columns() {
  winsize size{};
  return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

}  // namespace

Progress::Progress(std::string what) : Progress(std::move(what), interactive()) {}

Progress::Progress(std::string what, bool visible) : what_(std::move(what)), visible_(visible) {}

std::string Progress::render(std::string_view what, std::int64_t done, std::int64_t total,
                             double seconds, std::string_view name, int columns) {
  constexpr int kBar = 24;
  double fraction =
      total > 0 ? std::clamp(static_cast<double>(done) / static_cast<double>(total), 0.0, 1.0) : 1;
  auto filled = static_cast<std::size_t>(fraction * kBar);
  std::string line =
      fmt::format("{} [{}{}] {:3.0f} %", what, std::string(filled, '#'),
                  std::string(static_cast<std::size_t>(kBar) - filled, '.'), fraction * 100);
  // The first half second says nothing about the rate.
  if (seconds > 0.5 && done > 0) {
    double rate = static_cast<double>(done) / seconds;
    line += fmt::format("  {}/s  ETA {}", human_bytes(rate),
                        clock_time(static_cast<double>(total - done) / rate));
  }
  line += fmt::format("  {}", name);
  for (char& c : line)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  auto room = static_cast<std::size_t>(std::max(columns - 1, 0));
  if (line.size() > room) line.resize(room);
  return line;
}

void Progress::update(std::int64_t done_bytes, std::int64_t total_bytes, std::string_view name) {
  if (!visible_) return;
  auto now = Clock::now();
  if (drawn_ && now - last_ < std::chrono::milliseconds(100)) return;
  last_ = now;
  drawn_ = true;
  double seconds = std::chrono::duration<double>(now - start_).count();
  say("\r\x1b[K" + render(what_, done_bytes, total_bytes, seconds, name, terminal_columns()));
  std::fflush(stderr);
}

void Progress::clear() {
  if (drawn_) {
    say("\r\x1b[K");
    std::fflush(stderr);
  }
  drawn_ = false;
}

WriteOptions write_options(int threads, Progress& progress) {
  return {threads, [&progress](const WriteProgress& at) {
            progress.update(static_cast<std::int64_t>(at.done), static_cast<std::int64_t>(at.total),
                            at.current);
          }};
}

}  // namespace coppice::cli
