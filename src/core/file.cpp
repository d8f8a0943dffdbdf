#include "core/file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <system_error>
#include <utility>

#include "coppice/error.h"

namespace coppice {
namespace {

// The whole pages inside (or, for `outward`, around) a part of a mapping.
struct PageRange {
  void* begin = nullptr;
  std::size_t bytes = 0;
};

PageRange pages(std::span<const std::byte> part, bool outward) {
  static const auto page = static_cast<std::uintptr_t>(sysconf(_SC_PAGESIZE));
  auto begin = reinterpret_cast<std::uintptr_t>(part.data());
  std::uintptr_t end = begin + part.size();
  if (outward) {
    begin = begin / page * page;
  } else {
    begin = (begin + page - 1) / page * page;
    end = end / page * page;
  }
  if (end <= begin) return {};
  return {reinterpret_cast<void*>(begin), end - begin};
}

}  // namespace

FileDescriptor& FileDescriptor::operator=(FileDescriptor&& other) noexcept {
  std::swap(fd_, other.fd_);
  return *this;
}

FileDescriptor::~FileDescriptor() {
  if (fd_ >= 0) close(fd_);
}

int FileDescriptor::release() { return std::exchange(fd_, -1); }

void throw_file_error(std::string_view action, const std::filesystem::path& path, int error) {
  std::string_view way_out;
  if (error == ENOSPC || error == EDQUOT || error == EFBIG)
    way_out = "; free some space or choose an output on another disk";
  throw FileError(fmt::format("cannot {} {}: {}{}", action, path.string(),
                              std::generic_category().message(error), way_out));
}

FileDescriptor open_regular(const std::filesystem::path& path, std::uint64_t& bytes) {
  FileDescriptor fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (fd.get() < 0) throw_file_error("open", path, errno);
  struct stat status = {};
  if (fstat(fd.get(), &status) != 0) throw_file_error("read", path, errno);
  if (!S_ISREG(status.st_mode))
    throw FileError(fmt::format("cannot read {}: it is not a regular file", path.string()));
  bytes = static_cast<std::uint64_t>(status.st_size);
  return fd;
}

std::string read_text(const std::filesystem::path& path, std::uint64_t limit) {
  std::uint64_t bytes = 0;
  FileDescriptor fd = open_regular(path, bytes);
  if (bytes > limit)
    throw FileError(
        fmt::format("{} has {} bytes; at most {} are read", path.string(), bytes, limit));
  std::string text(bytes, '\0');
  std::size_t done = 0;
  while (done < text.size()) {
    ssize_t got = read(fd.get(), text.data() + done, text.size() - done);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw_file_error("read", path, errno);
    if (got == 0) throw FileError(fmt::format("{} became shorter while read", path.string()));
    done += static_cast<std::size_t>(got);
  }
  return text;
}

MappedFile::MappedFile(const std::filesystem::path& path) {
  std::uint64_t bytes = 0;
  FileDescriptor fd = open_regular(path, bytes);
  if (bytes == 0) return;  // an empty mapping is refused by the system
  void* data = mmap(nullptr, bytes, PROT_READ, MAP_SHARED, fd.get(), 0);
  if (data == MAP_FAILED) throw_file_error("map", path, errno);
  bytes_ = {static_cast<const std::byte*>(data), bytes};
}

MappedFile::MappedFile(MappedFile&& other) noexcept : bytes_(std::exchange(other.bytes_, {})) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(bytes_, other.bytes_);
  return *this;
}

MappedFile::~MappedFile() {
  if (!bytes_.empty()) munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

void MappedFile::prefetch(std::span<const std::byte> part) const {
  PageRange range = pages(part, true);
  if (range.bytes > 0) madvise(range.begin, range.bytes, MADV_WILLNEED);
}

void MappedFile::drop(std::span<const std::byte> part) const {
  PageRange range = pages(part, false);
  if (range.bytes > 0) madvise(range.begin, range.bytes, MADV_DONTNEED);
}

}  // namespace coppice
