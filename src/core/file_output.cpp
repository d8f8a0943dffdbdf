#include "core/file_output.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "coppice/cancel.h"
#include "coppice/error.h"

namespace coppice {
namespace {

// Bytes after which the kernel is asked to start writing, so that the fsync at the end is short.
constexpr std::uint64_t kWriteBehind = 32 << 20;
constexpr std::size_t kCopyChunk = 4 << 20;

std::filesystem::path temporary_name(const std::filesystem::path& path) {
  static constexpr std::string_view kLetters = "abcdefghijklmnopqrstuvwxyz0123456789";
  std::random_device random;
  std::string suffix;
  for (int i = 0; i < 6; ++i) suffix += kLetters[random() % kLetters.size()];
  return path.string() + ".tmp-" + suffix;
}

// Calls make(name), which returns >= 0 or sets errno, with fresh names until one is free.
template <typename Make>
std::pair<std::filesystem::path, int> make_temporary(const std::filesystem::path& path, Make make) {
  constexpr int kAttempts = 100;
  for (int attempt = 0;; ++attempt) {
    std::filesystem::path name = temporary_name(path);
    int result = make(name.c_str());
    if (result >= 0) return {std::move(name), result};
    if (errno != EEXIST || attempt == kAttempts) throw_file_error("create", name, errno);
  }
}

std::filesystem::path parent_of(const std::filesystem::path& path) {
  return path.has_parent_path() ? path.parent_path() : std::filesystem::path(".");
}

void write_all(int fd, const std::filesystem::path& path, std::uint64_t offset,
               std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    ssize_t put = pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) throw_file_error("write", path, errno);
    bytes = bytes.subspan(static_cast<std::size_t>(put));
    offset += static_cast<std::uint64_t>(put);
  }
}

// A file system may report a full disk only here.
void sync_and_close(FileDescriptor& fd, const std::filesystem::path& path) {
  if (fsync(fd.get()) != 0) throw_file_error("write", path, errno);
  if (close(fd.release()) != 0) throw_file_error("write", path, errno);
}

// A hint: dirty pages of the file go to the disk in the background.
void start_writing([[maybe_unused]] int fd) {
#ifdef SYNC_FILE_RANGE_WRITE
  sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE);
#endif
}

}  // namespace

void sync_directory(const std::filesystem::path& directory) {
  FileDescriptor fd(open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (fd.get() < 0) throw_file_error("open", directory, errno);
  // Some file systems have no fsync for directories and say EINVAL; there is nothing better to do.
  if (fsync(fd.get()) != 0 && errno != EINVAL) throw_file_error("write", directory, errno);
}

void copy_regular(const std::filesystem::path& from, const std::filesystem::path& to) {
  std::uint64_t bytes = 0;
  FileDescriptor in = open_regular(from, bytes);
  struct stat status = {};
  if (fstat(in.get(), &status) != 0) throw_file_error("read", from, errno);
  const mode_t mode = (status.st_mode & 0777) | 0600;
  FileDescriptor out(open(to.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode));
  if (out.get() < 0) throw_file_error("create", to, errno);
  std::vector<std::byte> buffer(std::min<std::uint64_t>(kCopyChunk, bytes + 1));
  for (std::uint64_t offset = 0;;) {
    throw_if_cancelled();
    ssize_t got = read(in.get(), buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw_file_error("read", from, errno);
    if (got == 0) break;
    write_all(out.get(), to, offset, std::span(buffer).first(static_cast<std::size_t>(got)));
    offset += static_cast<std::uint64_t>(got);
  }
  sync_and_close(out, to);
}

void write_text(const std::filesystem::path& path, std::string_view text) {
  FileDescriptor fd(open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
  if (fd.get() < 0) throw_file_error("create", path, errno);
  write_all(fd.get(), path, 0, std::as_bytes(std::span(text)));
  sync_and_close(fd, path);
}

AtomicFile::AtomicFile(const std::filesystem::path& path) : path_(path) {
  auto [name, fd] = make_temporary(path, [](const char* candidate) {
    return open(candidate, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  });
  temporary_ = std::move(name);
  fd_ = FileDescriptor(fd);
}

AtomicFile::~AtomicFile() {
  if (fd_.get() >= 0) unlink(temporary_.c_str());
}

void AtomicFile::write_at(std::uint64_t offset, std::span<const std::byte> bytes) {
  write_all(fd_.get(), temporary_, offset, bytes);
  not_started_ += bytes.size();
  if (not_started_ < kWriteBehind) return;
  start_writing(fd_.get());
  not_started_ = 0;
}

void AtomicFile::commit() {
  if (fsync(fd_.get()) != 0) throw_file_error("write", temporary_, errno);
  if (rename(temporary_.c_str(), path_.c_str()) != 0) throw_file_error("create", path_, errno);
  if (close(fd_.release()) != 0) throw_file_error("write", path_, errno);
  sync_directory(parent_of(path_));
}

AtomicDirectory::AtomicDirectory(const std::filesystem::path& path) : path_(path) {
  temporary_ =
      make_temporary(path, [](const char* candidate) { return mkdir(candidate, 0777); }).first;
}

AtomicDirectory::~AtomicDirectory() {
  std::error_code ignored;
  if (!committed_) std::filesystem::remove_all(temporary_, ignored);
}

void AtomicDirectory::commit() {
  sync_directory(temporary_);
  // Fails if a file or a filled directory of that name has appeared, and leaves that alone.
  if (rename(temporary_.c_str(), path_.c_str()) != 0) throw_file_error("create", path_, errno);
  committed_ = true;
  sync_directory(parent_of(path_));
}

}  // namespace coppice
