#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "coppice/error.h"
#include "prune/statistics_checks.h"
#include "prune/statistics_layout.h"

namespace coppice {
namespace {

using namespace prune;

// Numbers summed and written at a time.
constexpr std::int64_t kChunk = std::int64_t{1} << 18;

struct Source {
  const SafetensorsFile* file;
  const StoredTensor* tensor;
};

// Numbers [first, first + out.size()) of a tensor of F64 or F32.
void load(const Source& source, std::int64_t first, std::span<double> out) {
  const auto offset = static_cast<std::size_t>(first * dtype_bytes(source.tensor->dtype));
  const std::span<const std::byte> data = source.file->data(*source.tensor).subspan(offset);
  if (source.tensor->dtype == Dtype::f64) {
    std::memcpy(out.data(), data.data(), out.size_bytes());
    return;
  }
  std::vector<float> values(out.size());
  to_float(Dtype::f32, data.data(), values);
  std::ranges::copy(values, out.begin());
}

// Adds numbers to sums of which `rest` is what did not fit into `sum` (Knuth's two-sum).
void add_exactly(std::span<const double> values, std::span<double> sum, std::span<double> rest) {
  for (std::size_t i = 0; i < values.size(); ++i) {
    const double total = sum[i] + values[i];
    const double share = total - sum[i];
    rest[i] += (sum[i] - (total - share)) + (values[i] - share);
    sum[i] = total;
  }
}

void write_sums(std::span<const Source> sources, std::int64_t count, SafetensorsWriter& writer,
                std::size_t tensor) {
  std::vector<double> values, sum, rest;
  for (std::int64_t first = 0; first < count; first += kChunk) {
    const auto size = static_cast<std::size_t>(std::min(kChunk, count - first));
    values.resize(size);
    sum.assign(size, 0);
    rest.assign(size, 0);
    for (const Source& source : sources) {
      load(source, first, values);
      add_exactly(values, sum, rest);
    }
    for (std::size_t i = 0; i < size; ++i) sum[i] += rest[i];
    writer.append(tensor, std::as_bytes(std::span(sum)));
  }
  for (const Source& source : sources) source.file->drop(source.file->data(*source.tensor));
}

[[noreturn]] void throw_misfit(const StatisticsFile& a, const StatisticsFile& b,
                               const std::string& fault) {
  throw InvalidArgument(
      fmt::format("'{}' and '{}' do not fit together: {}", a.name(), b.name(), fault));
}

// Everything that any shard holds, with the samples of all.
StatisticsContents unite(std::span<const StatisticsFile> shards) {
  StatisticsContents all{shards[0].contents().set, {}, {}, {}};
  std::map<std::string, InputInfo> inputs;
  std::map<std::string, FisherInfo> fisher;
  for (const StatisticsFile& shard : shards) {
    const StatisticsContents& own = shard.contents();
    auto misfit = [&](const std::string& fault) { throw_misfit(shards[0], shard, fault); };
    if (own.set != all.set)
      misfit(fmt::format("{} and {} samples", set_name(all.set), set_name(own.set)));
    for (const auto& [weight, input] : own.weights)
      if (const auto [at, added] = all.weights.emplace(weight, input);
          !added && at->second != input)
        misfit(fmt::format("'{}' has the input '{}' and '{}'", weight, at->second, input));
    for (const InputInfo& info : own.inputs) {
      const auto [at, added] = inputs.emplace(info.name, info);
      if (added) continue;
      if (at->second.cols != info.cols || at->second.has_gram != info.has_gram)
        misfit(
            fmt::format("input '{}' has other columns, or a Gram matrix in one only", info.name));
      at->second.samples += info.samples;
    }
    for (const FisherInfo& info : own.fisher) {
      const auto [at, added] = fisher.emplace(info.weight, info);
      if (added) continue;
      if (at->second.blocks != info.blocks || at->second.block != info.block)
        misfit(fmt::format("the Fisher blocks of '{}' differ in shape", info.weight));
      at->second.samples += info.samples;
    }
  }
  for (auto& [name, info] : inputs) all.inputs.push_back(std::move(info));
  for (auto& [name, info] : fisher) all.fisher.push_back(std::move(info));
  return all;
}

// Looks at every number before the first is written.
void check(const StatisticsFile& shard, int threads) {
  for (const InputInfo& input : shard.contents().inputs) {
    shard.impl().square_sums(input);
    if (input.has_gram) shard.impl().check_gram(input, threads);
  }
  for (const FisherInfo& fisher : shard.contents().fisher)
    shard.impl().fisher_sums(fisher, threads);
}

}  // namespace

void merge_statistics(std::span<const std::filesystem::path> paths,
                      const std::filesystem::path& out, int threads) {
  if (paths.empty()) throw InvalidArgument("no statistics files to merge");
  std::vector<StatisticsFile> shards;
  for (const auto& path : paths) {
    std::error_code ignored;
    if (std::filesystem::equivalent(path, out, ignored))
      throw InvalidArgument(
          fmt::format("'{}' is one of the files to merge; choose another output", out.string()));
    shards.push_back(StatisticsFile::open(path));
  }
  const StatisticsLayout layout(unite(shards));
  for (const StatisticsFile& shard : shards) check(shard, threads);

  SafetensorsWriter writer(out, layout.tensors(), layout.metadata());
  auto write = [&](const std::string& name, const char* ending, const auto& info) {
    if (std::string_view(ending) == kSamples || std::string_view(ending) == kFisherSamples) {
      writer.append(layout.index(name, ending), std::as_bytes(std::span(&info.samples, 1)));
      return;
    }
    std::vector<Source> sources;
    for (const StatisticsFile& shard : shards)
      if (const StoredTensor* tensor = shard.impl().file.find(name + ending))
        sources.push_back({&shard.impl().file, tensor});
    write_sums(sources, element_count(*sources.front().tensor), writer, layout.index(name, ending));
  };
  for (const InputInfo& input : layout.contents().inputs) {
    if (input.has_gram) write(input.name, kGram, input);
    write(input.name, kSquareSums, input);
    write(input.name, kSamples, input);
  }
  for (const FisherInfo& fisher : layout.contents().fisher) {
    write(fisher.weight, kFisher, fisher);
    write(fisher.weight, kFisherSamples, fisher);
  }
  writer.commit();
}

}  // namespace coppice
