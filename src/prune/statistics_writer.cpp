#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "coppice/error.h"
#include "prune/statistics_checks.h"
#include "prune/statistics_layout.h"

namespace coppice {

using namespace prune;

struct StatisticsWriter::Impl {
  StatisticsLayout layout;
  SafetensorsWriter writer;

  Impl(const std::filesystem::path& path, StatisticsContents contents)
      : layout(std::move(contents)), writer(path, layout.tensors(), layout.metadata()) {}

  template <typename T>
  void append(const std::string& name, const char* ending, std::span<const T> values) {
    writer.append(layout.index(name, ending), std::as_bytes(values));
  }
};

namespace {

void throw_if(const std::string& fault, std::string_view of) {
  if (!fault.empty()) throw InvalidArgument(fmt::format("statistics of '{}': {}", of, fault));
}

}  // namespace

StatisticsWriter::StatisticsWriter(const std::filesystem::path& path, StatisticsContents contents)
    : impl_(std::make_unique<Impl>(path, std::move(contents))) {}
StatisticsWriter::StatisticsWriter(StatisticsWriter&&) noexcept = default;
StatisticsWriter& StatisticsWriter::operator=(StatisticsWriter&&) noexcept = default;
StatisticsWriter::~StatisticsWriter() = default;

void StatisticsWriter::add(std::string_view input, const InputStatistics& statistics) {
  const auto& [cols, samples, gram, square_sums] = statistics;
  const auto& inputs = impl_->layout.contents().inputs;
  const InputInfo info{std::string(input), cols, samples, !gram.empty()};
  if (std::ranges::find(inputs, info) == inputs.end())
    throw_if("other columns, samples or matrices than were declared", input);
  if (std::ssize(square_sums) != cols || (info.has_gram && std::ssize(gram) != cols * cols))
    throw_if(
        fmt::format("{} sums of squares and {} entries of the Gram matrix do not fit {} columns",
                    square_sums.size(), gram.size(), cols),
        input);
  const std::byte* entries = info.has_gram ? std::as_bytes(std::span(gram)).data() : nullptr;
  throw_if(square_sums_fault(square_sums, entries), input);
  if (info.has_gram)
    throw_if(product_fault(entries, 1, cols, samples, "the Gram matrix", 1), input);
  if (info.has_gram) impl_->append(info.name, kGram, std::span(gram));
  impl_->append(info.name, kSquareSums, std::span(square_sums));
  impl_->append(info.name, kSamples, std::span(&samples, 1));
}

void StatisticsWriter::add_fisher(std::string_view weight, const FisherStatistics& statistics) {
  const auto& [blocks, block, samples, sums] = statistics;
  const auto& fisher = impl_->layout.contents().fisher;
  const FisherInfo info{std::string(weight), blocks, block, samples};
  if (std::ranges::find(fisher, info) == fisher.end())
    throw_if("other blocks or samples than were declared", weight);
  if (std::ssize(sums) != blocks * block * block)
    throw_if(fmt::format("{} numbers do not fit {} blocks of {}", sums.size(), blocks, block),
             weight);
  throw_if(product_fault(std::as_bytes(std::span(sums)).data(), blocks, block, samples,
                         "Fisher block", 1),
           weight);
  impl_->append(info.weight, kFisher, std::span(sums));
  impl_->append(info.weight, kFisherSamples, std::span(&samples, 1));
}

void StatisticsWriter::commit() { impl_->writer.commit(); }

}  // namespace coppice
