#include "subprocess.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <stdexcept>

extern char** environ;

namespace coppice::cli::test {
namespace {

namespace fs = std::filesystem;

struct Pipe {
  std::array<int, 2> ends{-1, -1};
  Pipe() {
    if (pipe2(ends.data(), O_CLOEXEC) != 0) throw std::runtime_error("pipe2 failed");
  }
  ~Pipe() {
    close_end(0);
    close_end(1);
  }
  void close_end(std::size_t i) {
    if (ends[i] >= 0) close(ends[i]);
    ends[i] = -1;
  }
};

// Limits and ignored signals are inherited: set them around the spawn, then put them back.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(std::optional<rlim_t> bytes) : active_(bytes.has_value()) {
    if (!active_) return;
    getrlimit(RLIMIT_FSIZE, &old_);
    rlimit limit{*bytes, old_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limit);
    old_handler_ = signal(SIGXFSZ, SIG_IGN);
  }
  ~FileSizeLimit() {
    if (!active_) return;
    setrlimit(RLIMIT_FSIZE, &old_);
    signal(SIGXFSZ, old_handler_);
  }

 private:
  bool active_;
  rlimit old_{};
  void (*old_handler_)(int) = SIG_DFL;
};

pid_t spawn(const std::vector<std::string>& args, const RunOptions& options, const Pipe& out,
            const Pipe& err) {
  std::vector<std::string> environment;
  for (char** e = environ; *e != nullptr; ++e) environment.emplace_back(*e);
  for (const auto& [name, value] : options.environment) environment.push_back(name + "=" + value);
  std::vector<char*> argv{const_cast<char*>("coppice")}, envp;
  for (const auto& arg : args) argv.push_back(const_cast<char*>(arg.c_str()));
  for (const auto& entry : environment) envp.push_back(const_cast<char*>(entry.c_str()));
  argv.push_back(nullptr);
  envp.push_back(nullptr);

  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  if (options.stdout_path.empty())
    posix_spawn_file_actions_adddup2(&actions, out.ends[1], 1);
  else
    posix_spawn_file_actions_addopen(&actions, 1, options.stdout_path.c_str(),
                                     O_WRONLY | O_CREAT | O_TRUNC, 0644);
  posix_spawn_file_actions_adddup2(&actions, err.ends[1], 2);
  for (int fd = 0; options.close_streams && fd <= 2; ++fd)
    posix_spawn_file_actions_addclose(&actions, fd);
  FileSizeLimit limit(options.max_file_bytes);
  pid_t pid = -1;
  int failed = posix_spawn(&pid, COPPICE_BINARY, &actions, nullptr, argv.data(), envp.data());
  posix_spawn_file_actions_destroy(&actions);
  if (failed != 0) throw std::runtime_error("cannot start " COPPICE_BINARY);
  return pid;
}

// Reads what is there; false at the end of the stream.
bool drain(int fd, std::string& into) {
  std::array<char, 65536> buffer;
  auto got = read(fd, buffer.data(), buffer.size());
  if (got > 0) into.append(buffer.data(), static_cast<std::size_t>(got));
  return got > 0;
}

}  // namespace

long Result::err_lines() const { return std::count(err.begin(), err.end(), '\n'); }

Result coppice(const std::vector<std::string>& args, const RunOptions& options) {
  Pipe out, err;
  pid_t pid = spawn(args, options, out, err);
  out.close_end(1);
  err.close_end(1);
  Result result;
  bool signalled = options.signal == 0, timed_out = false;
  auto start = std::chrono::steady_clock::now();
  bool out_open = true, err_open = true;
  while (out_open || err_open) {
    std::array<pollfd, 2> fds{pollfd{out_open ? out.ends[0] : -1, POLLIN, 0},
                              pollfd{err_open ? err.ends[0] : -1, POLLIN, 0}};
    poll(fds.data(), fds.size(), 1);
    if (fds[0].revents != 0) out_open = drain(out.ends[0], result.out);
    if (fds[1].revents != 0) err_open = drain(err.ends[0], result.err);
    if (!signalled && options.when()) {
      kill(pid, options.signal);
      signalled = true;
    }
    std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
    if (!timed_out && elapsed.count() > options.timeout_seconds) {
      kill(pid, SIGKILL);
      timed_out = true;
    }
  }
  int status = 0;
  rusage usage{};
  wait4(pid, &status, 0, &usage);
  EXPECT_FALSE(timed_out) << "coppice ran longer than " << options.timeout_seconds << " s";
  if (WIFEXITED(status)) result.exit_code = WEXITSTATUS(status);
  if (WIFSIGNALED(status)) result.signal = WTERMSIG(status);
  result.max_rss_kb = usage.ru_maxrss;
  return result;
}

std::string fingerprint(const fs::path& file) {
  std::string bytes = read_file(file);
  // The order of keys says nothing.
  if (file.extension() == ".json" && nlohmann::json::accept(bytes))
    bytes = nlohmann::json::parse(bytes).dump();
  return std::to_string(bytes.size()) + " bytes, hash " +
         std::to_string(std::hash<std::string>{}(bytes));
}

std::map<std::string, std::string> snapshot(const fs::path& directory) {
  std::map<std::string, std::string> files;
  for (const auto& entry : fs::recursive_directory_iterator(directory))
    if (entry.is_regular_file())
      files[fs::relative(entry.path(), directory).string()] = fingerprint(entry.path());
  return files;
}

std::vector<std::string> names_in(const fs::path& directory) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(directory))
    names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace coppice::cli::test
