// Output that appears complete or not at all: temporary name beside the target, fsync, rename.
// Not part of the public API.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string_view>

#include "core/file.h"

namespace coppice {

/// Brings the entries of a directory to the disk. Throws FileError.
void sync_directory(const std::filesystem::path& directory);

/// Copies a regular file's bytes and permission bits to a path that does not exist, and brings it
/// to the disk. Throws FileError, or Cancelled (cancel.h).
void copy_regular(const std::filesystem::path& from, const std::filesystem::path& to);

/// Writes a small new file and brings it to the disk. Throws FileError.
void write_text(const std::filesystem::path& path, std::string_view text);

/// A file written under `<path>.tmp-XXXXXX`, which gets its name at `commit`; the destructor
/// removes it otherwise. Move-only.
class AtomicFile {
 public:
  /// Throws FileError.
  explicit AtomicFile(const std::filesystem::path& path);
  AtomicFile(AtomicFile&&) = default;
  AtomicFile& operator=(AtomicFile&&) = delete;
  ~AtomicFile();

  /// Throws FileError.
  void write_at(std::uint64_t offset, std::span<const std::byte> bytes);
  /// Replaces an older file of that name. Throws FileError.
  void commit();

 private:
  std::filesystem::path path_, temporary_;
  FileDescriptor fd_;
  std::uint64_t not_started_ = 0;  // bytes that the kernel was not yet asked to write
};

/// A directory filled under `<path>.tmp-XXXXXX`, which gets its name at `commit`; the destructor
/// removes it, with all that is in it, otherwise.
class AtomicDirectory {
 public:
  /// Throws FileError.
  explicit AtomicDirectory(const std::filesystem::path& path);
  AtomicDirectory(const AtomicDirectory&) = delete;
  AtomicDirectory& operator=(const AtomicDirectory&) = delete;
  ~AtomicDirectory();

  /// Where to write meanwhile.
  const std::filesystem::path& temporary() const { return temporary_; }
  /// The files must be on disk already; brings the directory itself there. Throws FileError, also
  /// if something of that name has appeared meanwhile.
  void commit();

 private:
  std::filesystem::path path_, temporary_;
  bool committed_ = false;
};

}  // namespace coppice
