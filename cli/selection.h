// What the commands that work on linear weights share: globs, names, the refusal of NaN.
#pragma once

#include <string>
#include <vector>

#include "console.h"
#include "coppice/checkpoint.h"

namespace CLI {
class App;
}

namespace coppice::cli {

/// Adds --include and --exclude.
void add_selection(CLI::App& app, WeightSelection& selection);

/// How a weight lies in its tensor: "as stored", "transposed", "1 of 8 stacked", "fused
/// 768+768+768".
std::string reading_text(const LinearWeight& weight);

/// Throws InvalidArgument naming layer and position if a weight is NaN or infinite.
/// @returns true if there is such a weight and it is allowed.
bool check_finite(const std::string& name, const DenseView& dense, bool allowed, int threads);

/// Name, tensor, role, dtype, shape and how it is read.
Json weight_json(const LinearWeight& weight);

/// Every weight that could be chosen: linear weights, heads, poolers and routers.
std::vector<LinearWeight> all_prunable(const Checkpoint& checkpoint);

/// Tensors that would be weights but for their dtype, such as "14 of F8_E5M2, 2 of F64"; empty if
/// there are none.
std::string left_for_dtype(const Checkpoint& checkpoint);

/// Says on stderr which files of the input did not come along.
void note_left_out(const WriteReport& report);

}  // namespace coppice::cli
