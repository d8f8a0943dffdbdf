// What a checkpoint writer is going to do, and the function that does it. Not part of the public
// API.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "coppice/checkpoint.h"

namespace coppice {

/// Some input bytes to be read, and what to write for them.
struct Step {
  std::string_view name;
  std::uint64_t input_bytes = 0;
  std::function<void(SafetensorsWriter&)> write;
};

/// One output file: what it declares, and how its tensors get there.
struct FilePlan {
  std::vector<TensorInfo> tensors;
  SafetensorsMetadata metadata;
  std::vector<Step> steps;

  /// Declares a tensor. @returns its index for SafetensorsWriter::append.
  std::size_t declare(std::string name, Dtype dtype, std::vector<std::int64_t> shape) {
    tensors.push_back({std::move(name), dtype, std::move(shape)});
    return tensors.size() - 1;
  }
};

/// An output directory.
struct OutputPlan {
  std::vector<FilePlan> files;        ///< one for each file of the input
  std::optional<std::string> config;  ///< text of config.json; nothing: copied
  bool rewrite_index = false;         ///< else copied
};

/// The input's files and their metadata, without steps yet.
OutputPlan plan_like(const Checkpoint::Impl& input);

/// A step that copies a tensor, declared in `plan`, bit for bit. `input` must outlive it.
Step copy_step(const Checkpoint::Impl& input, std::size_t position, FilePlan& plan);

/// Writes the directory, which appears complete or not at all. Throws FileError, Cancelled, and
/// what the steps throw.
/// @param target from resolve_output.
WriteReport write_output(const Checkpoint& checkpoint, const std::filesystem::path& target,
                         const OutputPlan& plan, const WriteOptions& options);

}  // namespace coppice
