// Files: mapped input, and reading small files whole. Not part of the public API.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

namespace coppice {

/// Owns a file descriptor.
class FileDescriptor {
 public:
  FileDescriptor() = default;
  explicit FileDescriptor(int fd) : fd_(fd) {}
  FileDescriptor(FileDescriptor&& other) noexcept : fd_(other.release()) {}
  FileDescriptor& operator=(FileDescriptor&& other) noexcept;
  ~FileDescriptor();

  int get() const { return fd_; }
  int release();

 private:
  int fd_ = -1;
};

/// Throws FileError: "cannot <action> <path>: <what the system says>", with the way out for a full
/// disk.
[[noreturn]] void throw_file_error(std::string_view action, const std::filesystem::path& path,
                                   int error);

/// Opens a regular file for reading; never blocks on a pipe or device. Throws FileError.
/// @param bytes receives its size.
FileDescriptor open_regular(const std::filesystem::path& path, std::uint64_t& bytes);

/// The whole of a regular file of at most `limit` bytes. Throws FileError.
std::string read_text(const std::filesystem::path& path, std::uint64_t limit);

/// A regular file mapped for reading. Move-only.
class MappedFile {
 public:
  /// Throws FileError.
  explicit MappedFile(const std::filesystem::path& path);
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  std::span<const std::byte> bytes() const { return bytes_; }
  /// Hints; never fail.
  void prefetch(std::span<const std::byte> part) const;
  void drop(std::span<const std::byte> part) const;

 private:
  std::span<const std::byte> bytes_;
};

}  // namespace coppice
