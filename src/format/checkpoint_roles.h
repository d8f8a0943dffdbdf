// What a tensor is in its model, and how it maps to linear weights. Not part of the public API.
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "coppice/checkpoint.h"
#include "format/checkpoint_config.h"

namespace coppice {

/// Whether all of `text` matches a glob: `*` any text, `?` any character, `[...]` one of several.
bool glob_matches(const std::string& glob, const std::string& text);

TensorRole tensor_role(const TensorInfo& tensor, const ModelConfig& config);

/// Whether the role is `other` for the dtype alone (CheckpointTensor::left_for_dtype).
bool is_left_for_dtype(const TensorInfo& tensor, const ModelConfig& config);

/// The weights of a tensor whose role is linear, head, pooler or router: one, or one for each
/// expert of a stacked tensor.
std::vector<LinearWeight> weights_of(const CheckpointTensor& tensor, const ModelConfig& config);

/// The tensors of `tensors` that a selection chooses, in their order. Throws InvalidArgument if a
/// glob matches nothing, or an include matches nothing that can be pruned.
std::vector<const CheckpointTensor*> select_tensors(std::span<const CheckpointTensor> tensors,
                                                    const WeightSelection& selection);

}  // namespace coppice
