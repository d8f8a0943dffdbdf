#include "console.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "coppice/error.h"

namespace coppice::cli {
namespace {

// File names and tensor names reach messages: they must not break the one line or move a cursor.
std::string one_line(std::string_view text) {
  std::string line(text);
  for (char& c : line)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = ' ';
  return line;
}

[[noreturn]] void fail_output() {
  throw FileError(fmt::format("cannot write to standard output: {}", std::strerror(errno)));
}

}  // namespace

void reserve_standard_streams() {
  for (int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (fcntl(fd, F_GETFD) != -1 || errno != EBADF) continue;
    // Takes the lowest free number: this one. Not writable, so that printing fails as before.
    if (open("/dev/null", O_RDONLY) != fd) return;
  }
}

void print(std::string_view text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size()) fail_output();
}

void print_json(const Json& json) {
  print(json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
}

void flush_output() {
  if (std::fflush(stdout) != 0 || std::ferror(stdout)) fail_output();
}

// Where stderr cannot be written there is nobody to tell, and nothing to throw.
void say(std::string_view text) { std::fwrite(text.data(), 1, text.size(), stderr); }

void note(std::string_view text) { say(fmt::format("coppice: {}\n", one_line(text))); }

void report_error(std::string_view text) {
  say(fmt::format("coppice: error: {}\n", one_line(text)));
}

bool interactive() { return isatty(STDERR_FILENO) == 1; }

}  // namespace coppice::cli
