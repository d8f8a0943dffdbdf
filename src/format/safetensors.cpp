#include "coppice/safetensors.h"

#include <fmt/format.h>

#include <cstring>
#include <limits>
#include <optional>
#include <unordered_map>
#include <utility>

#include "coppice/error.h"
#include "core/file.h"
#include "format/safetensors_header.h"

namespace coppice {
namespace {

constexpr std::uint64_t kLengthBytes = 8;

std::uint64_t read_le64(std::span<const std::byte> bytes) {
  std::uint64_t value = 0;
  for (std::size_t i = kLengthBytes; i-- > 0;)
    value = value << 8 | std::to_integer<std::uint64_t>(bytes[i]);
  return value;
}

}  // namespace

std::int64_t element_count(const TensorInfo& tensor) {
  std::int64_t count = 1;
  for (std::int64_t size : tensor.shape)
    if (size < 0 || __builtin_mul_overflow(count, size, &count))
      throw InvalidArgument(fmt::format("tensor '{}' has an impossible shape: its size overflows",
                                        printable(tensor.name)));
  return count;
}

std::int64_t byte_count(const TensorInfo& tensor) {
  const std::int64_t count = element_count(tensor);
  std::int64_t bits = 0;
  if (__builtin_mul_overflow(count, std::int64_t{dtype_bits(tensor.dtype)}, &bits))
    throw InvalidArgument(fmt::format("tensor '{}' has an impossible shape: its size overflows",
                                      printable(tensor.name)));
  if (bits % 8 != 0)
    throw InvalidArgument(fmt::format("tensor '{}' of {} {} elements does not fill whole bytes",
                                      printable(tensor.name), count, dtype_name(tensor.dtype)));
  return bits / 8;
}

struct SafetensorsFile::Impl {
  std::string name;
  std::optional<MappedFile> mapping;
  std::span<const std::byte> data;  // what follows the header
  SafetensorsHeader header;
  std::unordered_map<std::string_view, const StoredTensor*> by_name;

  // Checks all; `bytes` is the whole file.
  void load(std::span<const std::byte> bytes) {
    if (bytes.size() < kLengthBytes)
      throw FileError(
          fmt::format("{}: {} bytes are too few for a safetensors file", name, bytes.size()));
    const std::uint64_t length = read_le64(bytes);
    bytes = bytes.subspan(kLengthBytes);
    if (length > kMaxSafetensorsHeader)
      throw FileError(
          fmt::format("{}: a header of {} bytes is over the limit of {}; is it a safetensors file?",
                      name, length, kMaxSafetensorsHeader));
    if (length > bytes.size())
      throw FileError(
          fmt::format("{}: the file ends inside its header ({} of {} bytes); it is truncated", name,
                      bytes.size(), length));
    data = bytes.subspan(length);
    std::string_view text(reinterpret_cast<const char*>(bytes.data()), length);
    header = parse_header(text, data.size(), name);
    by_name.reserve(header.tensors.size());
    for (const StoredTensor& t : header.tensors) by_name.emplace(t.name, &t);
  }
};

SafetensorsFile::SafetensorsFile(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
SafetensorsFile::SafetensorsFile(SafetensorsFile&&) noexcept = default;
SafetensorsFile& SafetensorsFile::operator=(SafetensorsFile&&) noexcept = default;
SafetensorsFile::~SafetensorsFile() = default;

SafetensorsFile SafetensorsFile::open(const std::filesystem::path& path) {
  auto impl = std::make_unique<Impl>();
  impl->name = path.string();
  impl->mapping.emplace(path);
  impl->load(impl->mapping->bytes());
  return SafetensorsFile(std::move(impl));
}

SafetensorsFile SafetensorsFile::parse(std::span<const std::byte> bytes, std::string name) {
  auto impl = std::make_unique<Impl>();
  impl->name = std::move(name);
  impl->load(bytes);
  return SafetensorsFile(std::move(impl));
}

std::span<const StoredTensor> SafetensorsFile::tensors() const { return impl_->header.tensors; }

const StoredTensor* SafetensorsFile::find(std::string_view name) const {
  auto it = impl_->by_name.find(name);
  return it == impl_->by_name.end() ? nullptr : it->second;
}

const StoredTensor& SafetensorsFile::at(std::string_view name) const {
  if (const StoredTensor* tensor = find(name)) return *tensor;
  throw FileError(fmt::format("{}: there is no tensor '{}'", impl_->name, printable(name)));
}

const SafetensorsMetadata& SafetensorsFile::metadata() const { return impl_->header.metadata; }
const std::string& SafetensorsFile::name() const { return impl_->name; }

std::span<const std::byte> SafetensorsFile::data(const StoredTensor& tensor) const {
  return impl_->data.subspan(tensor.begin, tensor.end - tensor.begin);
}

void SafetensorsFile::prefetch(std::span<const std::byte> part) const {
  if (impl_->mapping) impl_->mapping->prefetch(part);
}

void SafetensorsFile::drop(std::span<const std::byte> part) const {
  if (impl_->mapping) impl_->mapping->drop(part);
}

}  // namespace coppice
