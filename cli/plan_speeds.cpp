#include "plan_speeds.h"

#include <fmt/format.h>

#include <algorithm>

#include "coppice/cuda.h"
#include "coppice/error.h"
#include "coppice/pattern_choice.h"
#include "cuda/describe.h"
#include "cuda/model/model.h"

namespace coppice::cli {
namespace {

std::string limit_text(const cuda::model::Cost& cost) {
  return std::string(cuda::model::limit_name(cost.limit));
}

// Throws InvalidArgument if GPUs do not multiply by it.
PlanTime predicted_time(const Pattern& pattern, const PlanProduct& p,
                        const cuda::DeviceInfo& device) {
  if (!cuda::can_multiply(pattern, p.dtype))
    throw InvalidArgument(fmt::format("{} in {} is not multiplied on a GPU", pattern.to_string(),
                                      dtype_name(p.dtype)));
  cuda::ProductInfo product = cuda::describe(Grid(pattern, p.shape), p.dtype, false, device);
  product.tokens = p.tokens;
  product.token_major = p.layout == Layout::token_major;
  product.aligned = (product.token_major ? p.shape.cols : p.tokens) % 8 == 0;
  const cuda::Selection selection = cuda::select(product, device);
  const cuda::model::Cost cost = cuda::model::predict(selection, product, device);
  return {pattern, cost.seconds, 0, cuda::selection_name(selection), limit_text(cost)};
}

}  // namespace

std::vector<PlanGroup> plan_groups(std::span<const LinearWeight> weights) {
  std::vector<PlanGroup> groups;
  for (const LinearWeight& weight : weights) {
    auto found = std::ranges::find(groups, weight.shape, &PlanGroup::shape);
    if (found == groups.end()) {
      PlanGroup group;
      group.shape = weight.shape;
      groups.push_back(std::move(group));
      found = groups.end() - 1;
    }
    found->layers.push_back(weight.name);
  }
  return groups;
}

void predict_times(PlanGroup& group, const PlanProduct& product, std::span<const Pattern> patterns,
                   const cuda::model::Gpu& gpu, std::vector<std::string>& notes) {
  const cuda::DeviceInfo device = gpu.info();
  const cuda::model::Cost dense = cuda::model::dense_cost(product.dtype, group.shape.rows,
                                                          group.shape.cols, product.tokens, device);
  group.dense = {Pattern{}, dense.seconds, 0, "cuBLAS", limit_text(dense)};
  group.patterns.clear();
  for (const Pattern& pattern : patterns) {
    try {
      group.patterns.push_back(predicted_time(pattern, product, device));
    } catch (const Error& error) {  // too many columns, too little shared memory, a dtype
      if (std::ranges::find(notes, error.what()) == notes.end()) notes.emplace_back(error.what());
    }
  }
}

void choose_pattern(PlanGroup& group, double speedup) {
  int fastest = -1, freest = -1;
  const auto at = [&](int i) -> const PlanTime& {
    return group.patterns[static_cast<std::size_t>(i)];
  };
  for (int i = 0; i < static_cast<int>(group.patterns.size()); ++i) {
    if (fastest < 0 || at(i).seconds() < at(fastest).seconds()) fastest = i;
    if (speedup > 0 && group.speedup(at(i)) >= speedup &&
        (freest < 0 || mask_diversity(at(i).pattern) > mask_diversity(at(freest).pattern)))
      freest = i;
  }
  if (fastest < 0 || group.speedup(at(fastest)) <= 1) {
    group.chosen = -1;
    group.why = "dense wins";
    return;
  }
  group.chosen = freest >= 0 ? freest : fastest;
  group.why = freest >= 0   ? "the freest that is fast enough"
              : speedup > 0 ? "the fastest, and not fast enough"
                            : "the fastest";
}

std::vector<std::string> speed_lines(std::span<const PlanGroup> groups, const PlanProduct& product,
                                     const cuda::model::Gpu& gpu) {
  std::vector<std::string> lines = {
      "pattern,dtype,layout,tokens,cols,rows,kernel,us,dense_us,ratio,bound,source,gpu"};
  for (const PlanGroup& group : groups)
    for (const PlanTime& time : group.patterns)
      lines.push_back(fmt::format(
          "{},{},{},{},{},{},{},{:.3f},{:.3f},{:.4f},{},{},{}", time.pattern.to_string(),
          dtype_name(product.dtype), product.layout == Layout::token_major ? "token" : "feature",
          product.tokens, group.shape.cols, group.shape.rows, time.kernel, 1e6 * time.seconds(),
          1e6 * group.dense.seconds(), group.speedup(time), time.limit,
          time.measured > 0 ? "measured" : "predicted", gpu.name));
  return lines;
}

}  // namespace coppice::cli
