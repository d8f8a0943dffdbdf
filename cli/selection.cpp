#include "selection.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <map>

#include "coppice/error.h"
#include "units.h"

namespace coppice::cli {
namespace {

bool prunable(TensorRole role) {
  return role == TensorRole::linear || role == TensorRole::head || role == TensorRole::pooler ||
         role == TensorRole::router;
}

}  // namespace

void add_selection(CLI::App& app, WeightSelection& selection) {
  app.add_option("--include", selection.include,
                 "Only the weights whose name matches (may be repeated; * ? [...]); this is how "
                 "heads, poolers and routers are chosen")
      ->type_name("GLOB");
  app.add_option("--exclude", selection.exclude, "Not the weights whose name matches")
      ->type_name("GLOB");
  // One value each: otherwise `--include A MODEL_DIR` would take the directory as well.
  for (const char* name : {"--include", "--exclude"}) app.get_option(name)->allow_extra_args(false);
}

std::string reading_text(const LinearWeight& weight) {
  std::string text;
  auto add = [&](const std::string& part) { text += text.empty() ? part : ", " + part; };
  if (weight.transposed) add("transposed");
  if (weight.stacked) add(fmt::format("{} of {} stacked", weight.index + 1, weight.count));
  if (weight.shape.row_segments.size() > 1)
    add(fmt::format("fused {}", fmt::join(weight.shape.row_segments, "+")));
  return text.empty() ? "as stored" : text;
}

bool check_finite(const std::string& name, const DenseView& dense, bool allowed, int threads) {
  auto found = find_nonfinite(dense, threads);
  if (!found) return false;
  if (!allowed)
    throw InvalidArgument(fmt::format(
        "weight '{}' is {} at row {}, column {}; a checkpoint like this is usually damaged: get an "
        "intact one, leave the layer out with --exclude, or go on with --allow-nonfinite",
        name, std::isnan(found->value) ? "NaN" : "infinite", found->row, found->col));
  return true;
}

Json weight_json(const LinearWeight& weight) {
  return {{"name", weight.name},
          {"tensor", weight.tensor},
          {"role", role_name(weight.role)},
          {"dtype", dtype_name(weight.dtype)},
          {"rows", weight.shape.rows},
          {"cols", weight.shape.cols},
          {"read", reading_text(weight)}};
}

std::vector<LinearWeight> all_prunable(const Checkpoint& checkpoint) {
  bool any = std::ranges::any_of(checkpoint.tensors(),
                                 [](const CheckpointTensor& t) { return prunable(t.role); });
  if (!any) return {};
  return checkpoint.linear_weights({.include = {"*"}, .exclude = {}});
}

std::string left_for_dtype(const Checkpoint& checkpoint) {
  std::map<std::string_view, int> counts;
  for (const CheckpointTensor& tensor : checkpoint.tensors())
    if (tensor.left_for_dtype) ++counts[dtype_name(tensor.dtype)];
  std::string text;
  for (const auto& [dtype, count] : counts)
    text += fmt::format("{}{} of {}", text.empty() ? "" : ", ", count, dtype);
  return text;
}

void note_left_out(const WriteReport& report) {
  if (report.left_out.empty()) return;
  note(fmt::format("not copied (other formats of the same weights, caches): {}",
                   fmt::join(report.left_out, ", ")));
}

}  // namespace coppice::cli
