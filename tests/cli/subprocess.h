// Runs the coppice binary as a user would, without a shell.
#pragma once

#include <sys/resource.h>

#include <filesystem>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "files.h"

namespace coppice::cli::test {

using coppice::testing::read_file;
using coppice::testing::TempDir;
using coppice::testing::write_file;

struct Result {
  int exit_code = -1;    ///< -1 if a signal ended it
  int signal = 0;        ///< the signal that ended it, or 0
  std::string out, err;  ///< what it wrote
  long max_rss_kb = 0;   ///< peak resident memory, mapped files included

  /// The JSON document on stdout; throws if there is anything else.
  /// Give it a name before a range-for over a part of it: the loop does not keep it alive.
  nlohmann::json json() const { return nlohmann::json::parse(out); }
  /// Lines on stderr.
  long err_lines() const;
};

struct RunOptions {
  std::map<std::string, std::string> environment;  ///< added to the own one
  std::string stdout_path;                         ///< write stdout there instead of into Result
  std::optional<rlim_t> max_file_bytes;            ///< RLIMIT_FSIZE, with SIGXFSZ ignored: EFBIG
  bool close_streams = false;                      ///< start without stdin, stdout and stderr
  int signal = 0;                                  ///< sent once `when` holds
  std::function<bool()> when;                      ///< polled every millisecond
  double timeout_seconds = 120;                    ///< then it is killed, and the test fails
};

/// Runs `coppice args...` and waits for it.
Result coppice(const std::vector<std::string>& args, const RunOptions& options = {});

/// Size and hash of a file's bytes (of its meaning, if it is JSON).
std::string fingerprint(const std::filesystem::path& file);

/// Every file below a directory with its fingerprint: equal before and after means untouched.
std::map<std::string, std::string> snapshot(const std::filesystem::path& directory);

/// Names in a directory, sorted.
std::vector<std::string> names_in(const std::filesystem::path& directory);

}  // namespace coppice::cli::test
