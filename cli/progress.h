// A progress bar with ETA on stderr, on a terminal only.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "coppice/checkpoint.h"

namespace coppice::cli {

class Progress {
 public:
  /// @param what the verb in front of the bar, such as "pruning".
  /// @param visible draw at all; by default if stderr is a terminal.
  explicit Progress(std::string what);
  Progress(std::string what, bool visible);
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  /// Erases the bar, so that what follows starts on a clean line.
  ~Progress() { clear(); }

  /// Redraws at most ten times a second. @param name what is being worked on.
  void update(std::int64_t done_bytes, std::int64_t total_bytes, std::string_view name);
  void clear();

  /// The text of the bar, without control characters. @param columns width of the terminal.
  static std::string render(std::string_view what, std::int64_t done, std::int64_t total,
                            double seconds, std::string_view name, int columns);

 private:
  using Clock = std::chrono::steady_clock;
  std::string what_;
  bool visible_;
  bool drawn_ = false;
  Clock::time_point start_ = Clock::now(), last_{};
};

/// What the checkpoint writers need: the threads, and the bar to move. `progress` must outlive it.
WriteOptions write_options(int threads, Progress& progress);

}  // namespace coppice::cli
