// Sums of gradient products: Fisher blocks.
#include "fisher.h"

#include <fmt/format.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/variant.h>
#include <nanobind/stl/vector.h>

#include "bindings.h"
#include "coppice/error.h"
#include "coppice/fisher_order.h"
#include "coppice/score.h"
#include "coppice/statistics.h"

using namespace nb::literals;

namespace coppice::python {

FisherStatistics fisher_input(nb::handle sums, std::int64_t samples, int threads) {
  constexpr std::array<std::int64_t, 3> kAny{-1, -1, -1};
  const Numbers<double> given = numbers<double>(sums, "sums", kAny);
  const auto blocks = static_cast<std::int64_t>(given.memory.shape(0)),
             block = static_cast<std::int64_t>(given.memory.shape(1));
  if (static_cast<std::int64_t>(given.memory.shape(2)) != block)
    throw InvalidArgument(fmt::format("sums: got [{}, {}, {}], needs [blocks, B, B]", blocks, block,
                                      given.memory.shape(2)));
  FisherStatistics result{blocks, block, samples, {given.values.begin(), given.values.end()}};
  {
    nb::gil_scoped_release release;
    check_fisher(result, threads);
  }
  return result;
}

namespace {

nb::object scores_of(nb::handle weight, nb::handle sums, std::int64_t samples, double damping,
                     int threads) {
  const WeightInput input = weight_input(weight, "weight");
  const int used = thread_count(threads);
  const FisherStatistics given = fisher_input(sums, samples, used);
  const WeightOutput out = new_weight(Dtype::f32, input.view.rows, input.view.cols);
  const std::span<float> values{reinterpret_cast<float*>(out.view.data),
                                static_cast<std::size_t>(out.view.rows * out.view.cols)};
  {
    nb::gil_scoped_release release;
    score_weights_fisher(input.view, given, damping, values, used);
  }
  return out.array;
}

nb::object array_of_sums(const FisherStatistics& fisher) {
  return array_of(fisher.sums, {fisher.blocks, fisher.block, fisher.block});
}

nb::object gathered(nb::handle sums, std::int64_t cols, nb::handle order, int threads) {
  const std::vector<std::uint32_t> columns = permutation_input(order, "order");
  const int used = thread_count(threads);
  const FisherStatistics given = fisher_input(sums, 1, used);
  FisherStatistics result;
  {
    nb::gil_scoped_release release;
    result = gather_fisher(given, cols, {}, columns, used);
  }
  return array_of_sums(result);
}

std::optional<std::vector<std::int64_t>> segments_of(std::int64_t cols,
                                                     std::vector<std::int64_t> col_segments,
                                                     std::int64_t block,
                                                     const PatternArgument& pattern) {
  const auto cut =
      cut_at_blocks({1, cols, {}, std::move(col_segments)}, block, pattern_of(pattern));
  if (!cut) return std::nullopt;
  return cut->col_segments;
}

}  // namespace

std::pair<nb::object, std::int64_t> fisher_of(const StatisticsFile& file, const std::string& weight,
                                              int threads) {
  const FisherInfo* info = file.fisher_of(weight);
  if (info == nullptr)
    throw InvalidArgument(
        fmt::format("'{}' has no gradients of '{}'; coppice.calibrate(fisher=B) adds them",
                    file.name(), weight));
  const int used = thread_count(threads);
  FisherStatistics read;
  {
    nb::gil_scoped_release release;
    read = file.read(*info, used);
  }
  return {array_of_sums(read), read.samples};
}

void bind_fisher(nb::module_& module) {
  module.def("score_weights_fisher", &scores_of, "weight"_a, "sums"_a, "samples"_a, nb::kw_only(),
             "damping"_a = 0.01, "threads"_a = 0,
             "float32 scores by what the loss gains if a weight alone is pruned and the others of "
             "its Fisher block make up for it; sums and samples as fisher_prune takes them.");
  module.def("gather_fisher", &gathered, "sums"_a, "cols"_a, "order"_a, nb::kw_only(),
             "threads"_a = 0,
             "The sums of a weight of which the columns were gathered by an order that stays "
             "inside of its blocks.");
  module.def("fisher_segments", &segments_of, "cols"_a, "col_segments"_a, "block"_a, "pattern"_a,
             "The segments of columns that orders have to stay inside of for Fisher blocks to "
             "follow; None if a block ends inside of one of the pattern's groups.");
}

}  // namespace coppice::python
