#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <numeric>
#include <unordered_set>
#include <utility>

#include "coppice/cancel.h"
#include "coppice/error.h"
#include "coppice/safetensors.h"
#include "core/file_output.h"
#include "format/safetensors_header.h"

namespace coppice {
namespace {

// Bytes written between two looks at the cancel flag.
constexpr std::size_t kChunk = 8 << 20;

void check_names(const std::vector<TensorInfo>& tensors) {
  std::unordered_set<std::string_view> names;
  for (const TensorInfo& t : tensors) {
    if (t.name == "__metadata__")
      throw InvalidArgument("a tensor cannot be called '__metadata__' in safetensors");
    if (!names.insert(t.name).second)
      throw InvalidArgument(fmt::format("two tensors are called '{}'", t.name));
  }
}

// Places in the data, by falling element size, and the same in the order of the data.
std::vector<StoredTensor> lay_out(std::vector<TensorInfo> tensors,
                                  std::vector<std::size_t>& order) {
  order.resize(tensors.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(order, [&](std::size_t a, std::size_t b) {
    return dtype_bits(tensors[a].dtype) > dtype_bits(tensors[b].dtype);
  });
  std::vector<StoredTensor> stored;
  stored.reserve(tensors.size());
  std::uint64_t end = 0;
  for (std::size_t i : order) {
    StoredTensor t{std::move(tensors[i]), end, 0};
    end += static_cast<std::uint64_t>(byte_count(t));
    t.end = end;
    stored.push_back(std::move(t));
  }
  return stored;
}

}  // namespace

struct SafetensorsWriter::Impl {
  struct Slot {
    std::uint64_t next = 0, end = 0;  // in the file
  };
  AtomicFile file;
  std::vector<Slot> slots;  // in the caller's order
  std::vector<std::string> names;
  std::uint64_t bytes = 0;

  void write(std::uint64_t offset, std::span<const std::byte> data) {
    while (!data.empty()) {
      throw_if_cancelled();
      auto part = data.first(std::min(data.size(), kChunk));
      file.write_at(offset, part);
      offset += part.size();
      data = data.subspan(part.size());
    }
  }
};

SafetensorsWriter::SafetensorsWriter(const std::filesystem::path& path,
                                     std::vector<TensorInfo> tensors,
                                     const SafetensorsMetadata& metadata) {
  check_names(tensors);
  std::vector<std::size_t> order;
  const std::vector<StoredTensor> stored = lay_out(std::move(tensors), order);
  const std::string header = format_header(stored, metadata);

  std::array<std::byte, 8> length;
  for (std::size_t i = 0; i < length.size(); ++i)
    length[i] = static_cast<std::byte>(header.size() >> (8 * i) & 0xff);
  const std::uint64_t data = length.size() + header.size();

  impl_ = std::make_unique<Impl>(Impl{AtomicFile(path), {}, {}, data});
  impl_->slots.resize(stored.size());
  impl_->names.resize(stored.size());
  for (std::size_t i = 0; i < stored.size(); ++i) {
    impl_->slots[order[i]] = {data + stored[i].begin, data + stored[i].end};
    impl_->names[order[i]] = stored[i].name;
    impl_->bytes = data + stored[i].end;
  }
  impl_->write(0, length);
  impl_->write(length.size(), std::as_bytes(std::span(header)));
}

SafetensorsWriter::SafetensorsWriter(SafetensorsWriter&&) noexcept = default;
SafetensorsWriter& SafetensorsWriter::operator=(SafetensorsWriter&&) noexcept = default;
SafetensorsWriter::~SafetensorsWriter() = default;

void SafetensorsWriter::append(std::size_t tensor, std::span<const std::byte> bytes) {
  if (tensor >= impl_->slots.size())
    throw InvalidArgument(
        fmt::format("there is no tensor {} among {} declared ones", tensor, impl_->slots.size()));
  Impl::Slot& slot = impl_->slots[tensor];
  if (bytes.size() > slot.end - slot.next)
    throw InvalidArgument(fmt::format("tensor '{}' has room for {} more bytes, got {}",
                                      impl_->names[tensor], slot.end - slot.next, bytes.size()));
  impl_->write(slot.next, bytes);
  slot.next += bytes.size();
}

std::uint64_t SafetensorsWriter::file_bytes() const { return impl_->bytes; }

void SafetensorsWriter::commit() {
  for (std::size_t i = 0; i < impl_->slots.size(); ++i)
    if (impl_->slots[i].next != impl_->slots[i].end)
      throw InvalidArgument(fmt::format("{} bytes of tensor '{}' were not written",
                                        impl_->slots[i].end - impl_->slots[i].next,
                                        impl_->names[i]));
  impl_->file.commit();
}

}  // namespace coppice
