// The output directory of a checkpoint, but for its tensors. Not part of the public API.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "format/checkpoint_impl.h"

namespace coppice {

/// Checks as the public check_output does. @returns where the output will be, links resolved.
std::filesystem::path resolve_output(const std::filesystem::path& input,
                                     const std::filesystem::path& out);

/// Copies everything of the input directory but its tensors, index and config, and but the same
/// weights in other formats. @returns what was left out, relative to the input. Throws FileError or
/// Cancelled.
std::vector<std::string> copy_other_files(const Checkpoint::Impl& input,
                                          const std::filesystem::path& out);

}  // namespace coppice
