#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <utility>

#include "coppice/error.h"
#include "prune/statistics_checks.h"
#include "prune/statistics_impl.h"

namespace coppice {
namespace {

using namespace prune;

[[noreturn]] void throw_fault(const SafetensorsFile& file, const std::string& fault) {
  throw FileError(fmt::format("'{}': {}", file.name(), fault));
}

// The tensors that belong to one input or weight, by ending.
struct Parts {
  const StoredTensor *gram = nullptr, *square_sums = nullptr, *samples = nullptr, *fisher = nullptr,
                     *fisher_samples = nullptr;
};

const StoredTensor** part_of(Parts& parts, std::string_view ending) {
  if (ending == kGram) return &parts.gram;
  if (ending == kSquareSums) return &parts.square_sums;
  if (ending == kSamples) return &parts.samples;
  if (ending == kFisher) return &parts.fisher;
  if (ending == kFisherSamples) return &parts.fisher_samples;
  return nullptr;
}

std::map<std::string, Parts> sort_tensors(const SafetensorsFile& file) {
  std::map<std::string, Parts> all;
  for (const StoredTensor& tensor : file.tensors()) {
    const std::size_t dot = std::min(tensor.name.rfind('.'), tensor.name.size());
    const std::string_view ending = std::string_view(tensor.name).substr(dot);
    Parts unknown;
    if (part_of(unknown, ending) == nullptr)
      throw_fault(file, fmt::format("tensor '{}' is not known; a statistics file holds .gram, "
                                    ".square_sums, .samples, .fisher and .fisher_samples",
                                    tensor.name));
    *part_of(all[tensor.name.substr(0, dot)], ending) = &tensor;
  }
  return all;
}

void expect_shape(const SafetensorsFile& file, const StoredTensor& tensor,
                  std::initializer_list<Dtype> dtypes, const std::vector<std::int64_t>& shape) {
  if (std::ranges::find(dtypes, tensor.dtype) == dtypes.end())
    throw_fault(file, fmt::format("tensor '{}' is {}, needs to be {}", tensor.name,
                                  dtype_name(tensor.dtype), dtype_name(*dtypes.begin())));
  if (tensor.shape != shape)
    throw_fault(file, fmt::format("tensor '{}' is [{}], needs to be [{}]", tensor.name,
                                  fmt::join(tensor.shape, ", "), fmt::join(shape, ", ")));
}

std::int64_t read_samples(const SafetensorsFile& file, const StoredTensor* tensor,
                          const std::string& name, const char* ending) {
  if (tensor == nullptr) throw_fault(file, fmt::format("tensor '{}{}' is absent", name, ending));
  expect_shape(file, *tensor, {Dtype::i64}, {1});
  std::int64_t samples;
  std::memcpy(&samples, file.data(*tensor).data(), sizeof samples);
  return samples;
}

InputInfo input_info(const SafetensorsFile& file, const std::string& name, const Parts& parts) {
  InputInfo info{name, 0, read_samples(file, parts.samples, name, kSamples), parts.gram != nullptr};
  if (parts.square_sums == nullptr)
    throw_fault(file, fmt::format("tensor '{}{}' is absent", name, kSquareSums));
  if (!parts.square_sums->shape.empty()) info.cols = parts.square_sums->shape[0];
  expect_shape(file, *parts.square_sums, {Dtype::f64}, {info.cols});
  if (parts.gram) expect_shape(file, *parts.gram, {Dtype::f64}, {info.cols, info.cols});
  return info;
}

FisherInfo fisher_info(const SafetensorsFile& file, const std::string& name, const Parts& parts) {
  FisherInfo info{name, 0, 0, read_samples(file, parts.fisher_samples, name, kFisherSamples)};
  if (parts.fisher == nullptr)
    throw_fault(file, fmt::format("tensor '{}{}' is absent", name, kFisher));
  if (parts.fisher->shape.size() == 3)
    info.blocks = parts.fisher->shape[0], info.block = parts.fisher->shape[1];
  expect_shape(file, *parts.fisher, {Dtype::f64, Dtype::f32},
               {info.blocks, info.block, info.block});
  return info;
}

const std::string& metadata(const SafetensorsFile& file, const char* key) {
  const auto found = file.metadata().find(key);
  if (found == file.metadata().end())
    throw_fault(file, fmt::format("no statistics file of Coppice (its metadata has no '{}'); "
                                  "python -m coppice.calibrate makes one",
                                  key));
  return found->second;
}

StatisticsSet read_set(const SafetensorsFile& file) {
  const std::string& text = metadata(file, kSetKey);
  for (StatisticsSet set : {StatisticsSet::calibration, StatisticsSet::held_out})
    if (text == set_name(set)) return set;
  throw_fault(
      file, fmt::format("the metadata's 'set' is '{}', needs to be calibration or held_out", text));
}

std::map<std::string, std::string> read_weights(const SafetensorsFile& file) {
  const auto json = nlohmann::json::parse(metadata(file, kWeightsKey), nullptr, false);
  if (!json.is_object())
    throw_fault(file, "the metadata's 'weights' is no JSON object of inputs by weight");
  std::map<std::string, std::string> weights;
  for (const auto& [weight, input] : json.items()) {
    if (!input.is_string())
      throw_fault(file, fmt::format("the metadata's 'weights' has no name for '{}'", weight));
    weights[weight] = input.get<std::string>();
  }
  return weights;
}

StatisticsContents read_contents(const SafetensorsFile& file) {
  if (const std::string& version = metadata(file, kVersionKey); version != kVersion)
    throw_fault(file, fmt::format("statistics of version '{}', this Coppice reads version {}",
                                  version, kVersion));
  StatisticsContents contents{read_set(file), {}, read_weights(file), {}};
  for (const auto& [name, parts] : sort_tensors(file)) {
    if (parts.gram || parts.square_sums || parts.samples)
      contents.inputs.push_back(input_info(file, name, parts));
    if (parts.fisher || parts.fisher_samples)
      contents.fisher.push_back(fisher_info(file, name, parts));
  }
  if (const std::string fault = contents_fault(contents); !fault.empty()) throw_fault(file, fault);
  return contents;
}

std::vector<double> copy_doubles(std::span<const std::byte> bytes) {
  std::vector<double> values(bytes.size() / sizeof(double));
  std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

}  // namespace

std::string_view set_name(StatisticsSet set) {
  return set == StatisticsSet::calibration ? "calibration" : "held_out";
}

std::span<const std::byte> StatisticsFile::Impl::data(const std::string& name,
                                                      const char* ending) const {
  const StoredTensor* tensor = file.find(name + ending);
  return tensor ? file.data(*tensor) : std::span<const std::byte>();
}

std::vector<double> StatisticsFile::Impl::square_sums(const InputInfo& input) const {
  std::vector<double> sums = copy_doubles(data(input.name, kSquareSums));
  const std::byte* gram = input.has_gram ? data(input.name, kGram).data() : nullptr;
  if (const std::string fault = square_sums_fault(sums, gram); !fault.empty())
    throw_fault(file, fmt::format("input '{}': {}", input.name, fault));
  return sums;
}

void StatisticsFile::Impl::check_gram(const InputInfo& input, int threads) const {
  const std::string fault = product_fault(data(input.name, kGram).data(), 1, input.cols,
                                          input.samples, "the Gram matrix", threads);
  if (!fault.empty()) throw_fault(file, fmt::format("input '{}': {}", input.name, fault));
}

std::vector<double> StatisticsFile::Impl::fisher_sums(const FisherInfo& fisher, int threads) const {
  const StoredTensor& tensor = file.at(fisher.weight + kFisher);
  std::vector<double> sums;
  if (tensor.dtype == Dtype::f64) {
    sums = copy_doubles(file.data(tensor));
  } else {
    std::vector<float> values(static_cast<std::size_t>(element_count(tensor)));
    to_float(Dtype::f32, file.data(tensor).data(), values);
    sums.assign(values.begin(), values.end());
  }
  const std::string fault = product_fault(std::as_bytes(std::span(sums)).data(), fisher.blocks,
                                          fisher.block, fisher.samples, "Fisher block", threads);
  if (!fault.empty()) throw_fault(file, fmt::format("weight '{}': {}", fisher.weight, fault));
  return sums;
}

StatisticsFile::StatisticsFile(std::unique_ptr<const Impl> impl) : impl_(std::move(impl)) {}
StatisticsFile::StatisticsFile(StatisticsFile&&) noexcept = default;
StatisticsFile& StatisticsFile::operator=(StatisticsFile&&) noexcept = default;
StatisticsFile::~StatisticsFile() = default;

StatisticsFile StatisticsFile::open(const std::filesystem::path& path) {
  SafetensorsFile file = SafetensorsFile::open(path);
  StatisticsContents contents = read_contents(file);
  return StatisticsFile(std::make_unique<const Impl>(Impl{std::move(file), std::move(contents)}));
}

StatisticsFile StatisticsFile::parse(std::span<const std::byte> bytes, std::string name) {
  SafetensorsFile file = SafetensorsFile::parse(bytes, std::move(name));
  StatisticsContents contents = read_contents(file);
  return StatisticsFile(std::make_unique<const Impl>(Impl{std::move(file), std::move(contents)}));
}

const std::string& StatisticsFile::name() const { return impl_->file.name(); }
const StatisticsContents& StatisticsFile::contents() const { return impl_->contents; }

const InputInfo* StatisticsFile::input_of(std::string_view weight) const {
  const auto found = impl_->contents.weights.find(std::string(weight));
  if (found == impl_->contents.weights.end()) return nullptr;
  return &*std::ranges::lower_bound(impl_->contents.inputs, found->second, {}, &InputInfo::name);
}

const FisherInfo* StatisticsFile::fisher_of(std::string_view weight) const {
  const auto& all = impl_->contents.fisher;
  const auto found = std::ranges::lower_bound(all, weight, {}, &FisherInfo::weight);
  return found != all.end() && found->weight == weight ? &*found : nullptr;
}

InputStatistics StatisticsFile::read(const InputInfo& input, int threads) const {
  InputStatistics statistics = read_square_sums(input);
  if (!input.has_gram) return statistics;
  impl_->check_gram(input, threads);
  const std::span<const std::byte> gram = impl_->data(input.name, kGram);
  statistics.gram = copy_doubles(gram);
  impl_->file.drop(gram);
  return statistics;
}

InputStatistics StatisticsFile::read_square_sums(const InputInfo& input) const {
  return {input.cols, input.samples, {}, impl_->square_sums(input)};
}

FisherStatistics StatisticsFile::read(const FisherInfo& fisher, int threads) const {
  return {fisher.blocks, fisher.block, fisher.samples, impl_->fisher_sums(fisher, threads)};
}

}  // namespace coppice
