#include "prune/statistics_layout.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "coppice/error.h"
#include "prune/statistics_checks.h"

namespace coppice::prune {

StatisticsLayout::StatisticsLayout(StatisticsContents contents) : contents_(std::move(contents)) {
  std::ranges::sort(contents_.inputs, {}, &InputInfo::name);
  std::ranges::sort(contents_.fisher, {}, &FisherInfo::weight);
  if (const std::string fault = contents_fault(contents_); !fault.empty())
    throw InvalidArgument("statistics: " + fault);
  for (const InputInfo& input : contents_.inputs) {
    if (input.has_gram) add(input.name, kGram, Dtype::f64, {input.cols, input.cols});
    add(input.name, kSquareSums, Dtype::f64, {input.cols});
    add(input.name, kSamples, Dtype::i64, {1});
  }
  for (const FisherInfo& fisher : contents_.fisher) {
    add(fisher.weight, kFisher, Dtype::f64, {fisher.blocks, fisher.block, fisher.block});
    add(fisher.weight, kFisherSamples, Dtype::i64, {1});
  }
}

void StatisticsLayout::add(const std::string& name, const char* ending, Dtype dtype,
                           std::vector<std::int64_t> shape) {
  index_[name + ending] = tensors_.size();
  tensors_.push_back({name + ending, dtype, std::move(shape)});
}

SafetensorsMetadata StatisticsLayout::metadata() const {
  nlohmann::json weights = nlohmann::json::object();
  for (const auto& [weight, input] : contents_.weights) weights[weight] = input;
  try {
    return {{kVersionKey, kVersion},
            {kSetKey, std::string(set_name(contents_.set))},
            {kWeightsKey, weights.dump()}};
  } catch (const nlohmann::json::exception&) {
    throw InvalidArgument("statistics: the name of a weight is not UTF-8");
  }
}

}  // namespace coppice::prune
