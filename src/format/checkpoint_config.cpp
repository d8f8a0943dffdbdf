#include "format/checkpoint_config.h"

#include <fmt/format.h>

#include <initializer_list>
#include <limits>
#include <utility>

#include "coppice/error.h"
#include "format/config_text.h"
#include "format/safetensors_header.h"

namespace coppice {
namespace {

constexpr const char* kQuantization = "quantization_config";
constexpr const char* kMethod = "coppice";
constexpr std::int64_t kFormatVersion = 1;
// No axis of a weight is near this; products of two such sizes stay inside 64 bits.
constexpr std::int64_t kMaxSize = std::int64_t{1} << 28;

const ConfigJson* find(const ConfigJson& object, const char* key) {
  auto it = object.find(key);
  return it == object.end() ? nullptr : &*it;
}

// The first of `keys` that holds a positive size; 0 if none does.
std::int64_t size_of(const ConfigJson& object, std::initializer_list<const char*> keys) {
  for (const char* key : keys)
    if (const ConfigJson* value = find(object, key);
        value && value->is_number_integer() && *value > 0 && *value <= kMaxSize)
      return value->get<std::int64_t>();
  return 0;
}

// One weight of an untrusted quantization_config.
class EntryReader {
 public:
  EntryReader(const std::string& name, const ConfigJson& object, const std::string& file)
      : name_(name), object_(object), file_(file) {
    if (!object.is_object()) fail("it is not an object");
  }

  PackedEntry read() const {
    PackedEntry entry;
    entry.weight.name = name_;
    entry.weight.tensor = text("tensor");
    entry.pattern = pattern();
    entry.weight.dtype = dtype();
    const std::vector<std::int64_t> shape = sizes("shape", 1);
    if (shape.size() != 2) fail("'shape' needs two sizes");
    entry.weight.shape = {shape[0], shape[1], optional_sizes("row_segments"),
                          optional_sizes("col_segments")};
    read_adapter(entry.weight);
    if (const ConfigJson* flag = find(object_, "input_permutation")) {
      if (!flag->is_boolean()) fail("'input_permutation' needs to be true or false");
      entry.has_input_permutation = flag->get<bool>();
    }
    return entry;
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw FileError(fmt::format("{}: packed weight '{}': {}", file_, printable(name_), what));
  }
  const ConfigJson& field(const char* key) const {
    const ConfigJson* value = find(object_, key);
    if (!value) fail(fmt::format("'{}' is missing", key));
    return *value;
  }
  std::string text(const char* key) const {
    const ConfigJson& value = field(key);
    if (!value.is_string()) fail(fmt::format("'{}' needs to be a text", key));
    return value.get<std::string>();
  }
  Pattern pattern() const {
    try {
      return Pattern::parse(text("pattern"));
    } catch (const InvalidArgument&) {
      fail(fmt::format("'{}' is no pattern", printable(text("pattern"))));
    }
  }
  Dtype dtype() const {
    const std::optional<Dtype> dtype = parse_dtype(text("dtype"));
    if (!dtype || !is_weight_dtype(*dtype))
      fail(fmt::format("'{}' is no dtype of a packed weight", printable(text("dtype"))));
    return *dtype;
  }
  std::int64_t size(const ConfigJson& value, const char* key, std::int64_t least) const {
    if (!value.is_number_integer() || value < least || value > kMaxSize)
      fail(fmt::format("'{}' needs sizes from {} to {}", key, least, kMaxSize));
    return value.get<std::int64_t>();
  }
  std::vector<std::int64_t> sizes(const char* key, std::int64_t least) const {
    const ConfigJson& list = field(key);
    if (!list.is_array()) fail(fmt::format("'{}' needs to be a list", key));
    std::vector<std::int64_t> result;
    for (const ConfigJson& value : list) result.push_back(size(value, key, least));
    return result;
  }
  std::vector<std::int64_t> optional_sizes(const char* key) const {
    return find(object_, key) ? sizes(key, 0) : std::vector<std::int64_t>{};
  }
  void read_adapter(LinearWeight& weight) const {
    if (const ConfigJson* flag = find(object_, "transposed")) {
      if (!flag->is_boolean()) fail("'transposed' needs to be true or false");
      weight.transposed = flag->get<bool>();
    }
    if (!find(object_, "stack")) {
      if (weight.name != weight.tensor) fail("its tensor has another name");
      return;
    }
    const std::vector<std::int64_t> stack = sizes("stack", 0);
    if (stack.size() != 2 || stack[0] >= stack[1]) fail("'stack' needs an index and a count");
    weight.stacked = true;
    weight.index = stack[0];
    weight.count = stack[1];
    if (weight.name != fmt::format("{}.{}", weight.tensor, weight.index))
      fail("its name does not follow from its tensor and index");
  }

  const std::string& name_;
  const ConfigJson& object_;
  const std::string& file_;
};

}  // namespace

ConfigJson parse_json_object(const std::string& text, const std::string& file) {
  // Far deeper than any real file; without a limit, writing the JSON again could exhaust the stack.
  constexpr int kMaxDepth = 256;
  bool too_deep = false;
  const auto watch_depth = [&](int depth, ConfigJson::parse_event_t, ConfigJson&) {
    too_deep = too_deep || depth > kMaxDepth;
    return !too_deep;
  };
  ConfigJson json = ConfigJson::parse(text, watch_depth, false);
  if (too_deep)
    throw FileError(fmt::format("{}: its JSON is nested deeper than {} levels", file, kMaxDepth));
  if (json.is_discarded()) throw FileError(fmt::format("{}: it is not valid JSON", file));
  if (!json.is_object()) throw FileError(fmt::format("{}: it is not a JSON object", file));
  return json;
}

ConfigJson parse_config(const std::string& text, const std::string& file) {
  return parse_json_object(without_nonfinite(text), file);
}

ModelConfig model_config(const ConfigJson& config) {
  ModelConfig result;
  if (const ConfigJson* type = find(config, "model_type"); type && type->is_string())
    result.model_type = type->get<std::string>();
  if (const ConfigJson* tied = find(config, "tie_word_embeddings"); tied && tied->is_boolean())
    result.tied_embeddings = tied->get<bool>();
  const ConfigJson* sizes = &config;
  if (const ConfigJson* text = find(config, "text_config"); text && text->is_object()) sizes = text;
  result.hidden = size_of(*sizes, {"hidden_size", "n_embd", "d_model", "dim"});
  result.heads = size_of(*sizes, {"num_attention_heads", "n_head", "n_heads", "num_heads"});
  result.kv_heads = size_of(
      *sizes, {"num_key_value_heads", "multi_query_group_num", "num_kv_heads", "n_head_kv"});
  if (const ConfigJson* multi = find(*sizes, "multi_query");
      result.kv_heads == 0 && multi && multi->is_boolean() && multi->get<bool>())
    result.kv_heads = 1;
  if (result.kv_heads == 0) result.kv_heads = result.heads;
  result.head_dim = size_of(*sizes, {"head_dim", "kv_channels"});
  if (result.head_dim == 0 && result.heads > 0) result.head_dim = result.hidden / result.heads;
  return result;
}

bool is_packed_config(const ConfigJson& config, const std::string& file) {
  const ConfigJson* quantization = find(config, kQuantization);
  if (!quantization || !quantization->is_object()) return false;
  const ConfigJson* method = find(*quantization, "quant_method");
  if (!method || *method != kMethod) return false;
  const ConfigJson* version = find(*quantization, "format_version");
  if (!version || *version != kFormatVersion)
    throw FileError(
        fmt::format("{}: packed in a format version that this Coppice does not know "
                    "(it knows {}); use a newer Coppice",
                    file, kFormatVersion));
  return true;
}

std::string foreign_quantization(const ConfigJson& config) {
  const ConfigJson* quantization = find(config, kQuantization);
  if (!quantization || !quantization->is_object()) return {};
  const ConfigJson* method = find(*quantization, "quant_method");
  if (!method || !method->is_string()) return "an unnamed method";
  return *method == kMethod ? std::string{} : printable(method->get<std::string>());
}

ConfigJson quantization_config(std::span<const PackItem> items) {
  ConfigJson weights = ConfigJson::object();
  for (const PackItem& item : items) {
    const LinearWeight& w = item.weight;
    // Readers refuse it: with empty segments a small file could ask for any number of them.
    if (std::ssize(w.shape.row_segments) > w.shape.rows ||
        std::ssize(w.shape.col_segments) > w.shape.cols)
      throw InvalidArgument(fmt::format(
          "weight '{}' has more segments than rows or columns: leave the empty segments out",
          printable(w.name)));
    ConfigJson entry = {{"tensor", w.tensor},
                        {"pattern", item.pattern.to_string()},
                        {"dtype", dtype_name(w.dtype)},
                        {"shape", {w.shape.rows, w.shape.cols}}};
    if (!w.shape.row_segments.empty()) entry["row_segments"] = w.shape.row_segments;
    if (!w.shape.col_segments.empty()) entry["col_segments"] = w.shape.col_segments;
    if (w.transposed) entry["transposed"] = true;
    if (w.stacked) entry["stack"] = {w.index, w.count};
    if (item.input_permutation) entry["input_permutation"] = true;
    weights[w.name] = std::move(entry);
  }
  return {{"quant_method", kMethod}, {"format_version", kFormatVersion}, {"weights", weights}};
}

std::string packed_config_text(const std::string& text, std::span<const PackItem> items) {
  return with_member(text, kQuantization, quantization_config(items).dump(2));
}

std::string unpacked_config_text(const std::string& text) {
  return without_member(text, kQuantization);
}

std::vector<PackedEntry> parse_packed_entries(const ConfigJson& config, const std::string& file) {
  const ConfigJson* weights = find(config.at(kQuantization), "weights");
  if (!weights || !weights->is_object())
    throw FileError(fmt::format("{}: its quantization_config lists no weights", file));
  std::vector<PackedEntry> entries;
  entries.reserve(weights->size());
  for (const auto& [name, object] : weights->items())
    entries.push_back(EntryReader(name, object, file).read());
  return entries;
}

}  // namespace coppice
