#include "format/safetensors_header.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <tuple>
#include <unordered_set>
#include <utility>

#include "coppice/error.h"

namespace coppice {
namespace {

using Json = nlohmann::json;

constexpr std::string_view kMetadataKey = "__metadata__";
constexpr std::size_t kMaxDimensions = 256;

// Reads the header as a stream of events: a document tree would silently drop duplicate names, and
// take many times the header's memory. Throws FileError from inside the callbacks.
class HeaderReader : public nlohmann::json_sax<Json> {
 public:
  HeaderReader(SafetensorsHeader& header, const std::string& file) : header_(header), file_(file) {}

  bool null() override { unexpected("null"); }
  bool boolean(bool) override { unexpected("a boolean"); }
  bool number_float(double, const std::string&) override { unexpected("a number with a fraction"); }
  bool binary(Json::binary_t&) override { unexpected("binary data"); }
  bool number_integer(std::int64_t value) override {
    fail(fmt::format("{} holds the negative number {}", place(), value));
  }
  bool number_unsigned(std::uint64_t value) override;
  bool string(std::string& text) override;
  bool start_object(std::size_t) override;
  bool end_object() override;
  bool start_array(std::size_t) override;
  bool end_array() override;
  bool key(std::string& text) override;
  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::detail::exception& error) override {
    // The library's text repeats what was read, which may be long and is not ours to print.
    fail(fmt::format("the header is not valid JSON at byte {} (error {})", position, error.id));
  }

 private:
  // Where in the document the next event lies.
  enum class State { document, tensors, metadata, tensor, shape, offsets, done };

  [[noreturn]] void fail(const std::string& what) const {
    throw FileError(fmt::format("{}: {}", file_, what));
  }
  [[noreturn]] void unexpected(std::string_view what) const {
    fail(fmt::format("{} holds {} where safetensors has none", place(), what));
  }
  std::string place() const {
    if (state_ == State::document || state_ == State::tensors || state_ == State::done)
      return "the header";
    return state_ == State::metadata ? "__metadata__"
                                     : fmt::format("tensor '{}'", printable(tensor_.name));
  }
  void begin_field(const std::string& name);
  void finish_tensor();

  SafetensorsHeader& header_;
  const std::string& file_;
  State state_ = State::document;
  StoredTensor tensor_;
  std::string key_;
  std::optional<Dtype> dtype_;
  std::vector<std::uint64_t> offsets_;
  bool has_shape_ = false, has_offsets_ = false, has_metadata_ = false;
  std::unordered_set<std::string> names_;
};

bool HeaderReader::number_unsigned(std::uint64_t value) {
  if (state_ == State::shape) {
    if (value > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()))
      fail(fmt::format("{} has a dimension of {}", place(), value));
    if (tensor_.shape.size() == kMaxDimensions)
      fail(fmt::format("{} has more than {} dimensions", place(), kMaxDimensions));
    tensor_.shape.push_back(static_cast<std::int64_t>(value));
  } else if (state_ == State::offsets && offsets_.size() < 2) {
    offsets_.push_back(value);
  } else {
    unexpected("a number");
  }
  return true;
}

bool HeaderReader::string(std::string& text) {
  if (state_ == State::metadata) {
    if (!header_.metadata.emplace(key_, text).second)
      fail(fmt::format("__metadata__ has '{}' twice", printable(key_)));
  } else if (state_ == State::tensor && key_ == "dtype") {
    dtype_ = parse_dtype(text);
    if (!dtype_) fail(fmt::format("{} has the unknown dtype '{}'", place(), printable(text)));
  } else {
    unexpected("a text");
  }
  return true;
}

bool HeaderReader::start_object(std::size_t) {
  if (state_ == State::document) {
    state_ = State::tensors;
  } else if (state_ == State::tensors && key_ == kMetadataKey) {
    if (std::exchange(has_metadata_, true)) fail("the header has __metadata__ twice");
    state_ = State::metadata;
  } else if (state_ == State::tensors) {
    if (!names_.insert(key_).second)
      fail(fmt::format("the header has tensor '{}' twice", printable(key_)));
    tensor_ = {};
    tensor_.name = key_;
    dtype_.reset();
    offsets_.clear();
    has_shape_ = has_offsets_ = false;
    state_ = State::tensor;
  } else {
    unexpected("an object");
  }
  return true;
}

bool HeaderReader::end_object() {
  if (state_ == State::tensor) finish_tensor();
  state_ = state_ == State::tensors ? State::done : State::tensors;
  return true;
}

bool HeaderReader::start_array(std::size_t) {
  if (state_ != State::tensor || key_ == "dtype") unexpected("a list");
  state_ = key_ == "shape" ? State::shape : State::offsets;
  return true;
}

bool HeaderReader::end_array() {
  state_ = State::tensor;
  return true;
}

bool HeaderReader::key(std::string& text) {
  key_ = text;
  if (state_ == State::tensor) begin_field(text);
  return true;
}

void HeaderReader::begin_field(const std::string& name) {
  bool repeated = false;
  if (name == "dtype") {
    repeated = dtype_.has_value();
  } else if (name == "shape") {
    repeated = std::exchange(has_shape_, true);
  } else if (name == "data_offsets") {
    repeated = std::exchange(has_offsets_, true);
  } else {
    fail(fmt::format("{} has the unknown field '{}'", place(), printable(name)));
  }
  if (repeated) fail(fmt::format("{} has '{}' twice", place(), printable(name)));
}

void HeaderReader::finish_tensor() {
  if (!dtype_ || !has_shape_ || offsets_.size() != 2)
    fail(fmt::format("{} needs dtype, shape and two data_offsets", place()));
  tensor_.dtype = *dtype_;
  tensor_.begin = offsets_[0];
  tensor_.end = offsets_[1];
  header_.tensors.push_back(std::move(tensor_));
}

// Sizes agree with shapes, and the data has neither holes nor overlaps nor a rest.
void check_layout(const std::vector<StoredTensor>& tensors, std::uint64_t data_bytes,
                  const std::string& file) {
  std::uint64_t end = 0;
  for (const StoredTensor& t : tensors) {
    if (t.begin > t.end || t.end > data_bytes)
      throw FileError(
          fmt::format("{}: tensor '{}' lies at bytes {} to {} of {} bytes of data; the file is "
                      "truncated or its header is wrong",
                      file, printable(t.name), t.begin, t.end, data_bytes));
    std::int64_t bytes = 0;
    try {
      bytes = byte_count(t);
    } catch (const InvalidArgument& error) {
      throw FileError(fmt::format("{}: {}", file, error.what()));
    }
    if (static_cast<std::uint64_t>(bytes) != t.end - t.begin)
      throw FileError(fmt::format("{}: tensor '{}' has {} bytes, its shape and dtype need {}", file,
                                  printable(t.name), t.end - t.begin, bytes));
    if (t.begin != end)
      throw FileError(fmt::format(
          "{}: tensor '{}' starts at byte {}, the one before ends at {}: {}", file,
          printable(t.name), t.begin, end, t.begin < end ? "they overlap" : "there is a hole"));
    end = t.end;
  }
  if (end != data_bytes)
    throw FileError(fmt::format("{}: {} bytes of data follow the header, its tensors have {}", file,
                                data_bytes, end));
}

// JSON text of a string. Throws InvalidArgument if it is not UTF-8.
std::string quoted(const std::string& text) {
  try {
    return Json(text).dump();
  } catch (const Json::type_error&) {
    throw InvalidArgument("a name or metadata entry for safetensors is not valid UTF-8");
  }
}

}  // namespace

std::string printable(std::string_view name) {
  constexpr std::size_t kLongest = 160;
  std::string text(name.substr(0, kLongest));
  for (char& c : text)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  return name.size() > kLongest ? text + "..." : text;
}

SafetensorsHeader parse_header(std::string_view text, std::uint64_t data_bytes,
                               const std::string& file) {
  if (text.empty() || text.front() != '{')
    throw FileError(fmt::format("{}: the header does not start with '{{'", file));
  SafetensorsHeader header;
  HeaderReader reader(header, file);
  Json::sax_parse(text.begin(), text.end(), &reader);
  std::ranges::stable_sort(header.tensors, [](const StoredTensor& a, const StoredTensor& b) {
    return std::tie(a.begin, a.end) < std::tie(b.begin, b.end);
  });
  check_layout(header.tensors, data_bytes, file);
  return header;
}

std::string format_header(const std::vector<StoredTensor>& tensors,
                          const SafetensorsMetadata& metadata) {
  std::string text = "{";
  if (!metadata.empty()) {
    text += fmt::format("\"{}\":{{", kMetadataKey);
    for (const auto& [name, value] : metadata)
      text += fmt::format("{}:{},", quoted(name), quoted(value));
    text.back() = '}';
    text += ',';
  }
  for (const StoredTensor& t : tensors)
    text +=
        fmt::format("{}:{{\"dtype\":\"{}\",\"shape\":[{}],\"data_offsets\":[{},{}]}},",
                    quoted(t.name), dtype_name(t.dtype), fmt::join(t.shape, ","), t.begin, t.end);
  if (text.size() > 1) {
    text.back() = '}';
  } else {
    text += '}';
  }
  text.append((8 - text.size() % 8) % 8, ' ');
  if (text.size() > kMaxSafetensorsHeader)
    throw InvalidArgument(fmt::format("a safetensors header of {} bytes is over the limit of {}",
                                      text.size(), kMaxSafetensorsHeader));
  return text;
}

}  // namespace coppice
