// safetensors files: a reader that maps the file, and a writer for files larger than memory.
//
//   auto file = coppice::SafetensorsFile::open("model.safetensors");
//   for (const coppice::StoredTensor& t : file.tensors()) use(t.name, t.shape, file.data(t));
//
//   coppice::SafetensorsWriter writer("out.safetensors", {{"w", Dtype::f32, {2, 3}}});
//   writer.append(0, bytes);
//   writer.commit();
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "coppice/dtype.h"

namespace coppice {

/// The longest header that is read or written, as in the reference implementation.
inline constexpr std::uint64_t kMaxSafetensorsHeader = 100'000'000;

/// What a tensor is called and how it looks. Row-major, no strides.
struct TensorInfo {
  std::string name;
  Dtype dtype = Dtype::f32;
  std::vector<std::int64_t> shape;  ///< every size >= 0; empty for a scalar

  friend bool operator==(const TensorInfo&, const TensorInfo&) = default;
};

/// Elements of a tensor. Throws InvalidArgument if a size is negative or the product overflows.
std::int64_t element_count(const TensorInfo& tensor);

/// Bytes of a tensor. Throws InvalidArgument as above, or if sub-byte elements do not fill whole
/// bytes.
std::int64_t byte_count(const TensorInfo& tensor);

/// A tensor of a file, with its place in the data that follows the header.
struct StoredTensor : TensorInfo {
  std::uint64_t begin = 0, end = 0;  ///< bytes, relative to the start of the data
};

/// The `__metadata__` of a file: text by name.
using SafetensorsMetadata = std::map<std::string, std::string, std::less<>>;

/// A safetensors file, read only. The header is checked as a whole before anything is returned:
/// length (at most 100 MB), JSON and UTF-8, duplicate names, dtypes, sizes without overflow, and
/// data that covers the rest of the file without a hole or an overlap. Move-only; the const
/// functions may be called from several threads. The mapped file must not be shortened by others
/// while it is open.
class SafetensorsFile {
 public:
  /// Maps a file. Throws FileError, with the path and the fault.
  static SafetensorsFile open(const std::filesystem::path& path);

  /// Reads a file that already lies in memory, which must outlive the object. Throws FileError.
  /// @param name what to call it in messages.
  static SafetensorsFile parse(std::span<const std::byte> bytes, std::string name = "<memory>");

  SafetensorsFile(SafetensorsFile&&) noexcept;
  SafetensorsFile& operator=(SafetensorsFile&&) noexcept;
  ~SafetensorsFile();

  /// All tensors, in the order of their data.
  std::span<const StoredTensor> tensors() const;
  /// The tensor of that name, or nullptr.
  const StoredTensor* find(std::string_view name) const;
  /// The tensor of that name. Throws FileError if there is none.
  const StoredTensor& at(std::string_view name) const;
  const SafetensorsMetadata& metadata() const;
  /// The path (or the name given to `parse`), for messages.
  const std::string& name() const;

  /// The bytes of one of this file's tensors; valid while the object lives. Not necessarily aligned
  /// to the element.
  std::span<const std::byte> data(const StoredTensor& tensor) const;
  /// Tells the kernel that these bytes are wanted soon. A hint: never fails.
  void prefetch(std::span<const std::byte> part) const;
  /// Gives the memory of bytes that were read back to the kernel; reading them again is allowed and
  /// maps them again. A hint: never fails, does nothing after `parse`.
  void drop(std::span<const std::byte> part) const;

 private:
  struct Impl;
  explicit SafetensorsFile(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

/// Writes one safetensors file, tensor by tensor, so that it may be larger than memory. The file
/// appears under its name only when `commit` succeeds: until then it has a temporary name in the
/// same directory, and the destructor removes it. Move-only; not for several threads at once.
class SafetensorsWriter {
 public:
  /// Declares every tensor and writes the header. The data is laid out by falling element size (and
  /// in the given order among equals), so that every tensor is aligned to its element; an order
  /// that satisfies this is kept. Throws InvalidArgument (duplicate name, name not UTF-8, bad
  /// shape, header over 100 MB) or FileError.
  SafetensorsWriter(const std::filesystem::path& path, std::vector<TensorInfo> tensors,
                    const SafetensorsMetadata& metadata = {});
  SafetensorsWriter(SafetensorsWriter&&) noexcept;
  SafetensorsWriter& operator=(SafetensorsWriter&&) noexcept;
  ~SafetensorsWriter();

  /// Adds the next bytes of a tensor. Tensors may be written in any order and in any pieces.
  /// @param tensor its index in the list given to the constructor.
  /// Throws InvalidArgument if it is more than the tensor holds, FileError, or Cancelled
  /// (cancel.h).
  void append(std::size_t tensor, std::span<const std::byte> bytes);

  /// Bytes of the whole file, header included.
  std::uint64_t file_bytes() const;

  /// Writes everything to the disk (fsync) and gives the file its name, replacing an older file.
  /// Throws InvalidArgument if bytes of a tensor are missing, or FileError.
  void commit();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace coppice
