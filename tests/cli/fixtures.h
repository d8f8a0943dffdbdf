// Small checkpoints for the command line's tests, and ways to damage them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>

#include "tools/checkpoint_maker.h"

namespace coppice::cli::test {

/// A Llama-like checkpoint: two layers of 64 hidden and 160 intermediate features, 14 linear
/// weights.
coppice::test::CheckpointSpec tiny_llama(const std::filesystem::path& directory);

/// Writes tiny_llama (changed by `change`) and returns its directory.
std::string make_tiny(const std::filesystem::path& directory,
                      const std::function<void(coppice::test::CheckpointSpec&)>& change = {});

/// Rewrites the header of a safetensors file; the data stays.
void edit_header(const std::filesystem::path& file,
                 const std::function<void(nlohmann::json&)>& edit);

/// Overwrites one fp32 element of a tensor.
void poke_f32(const std::filesystem::path& file, const std::string& tensor, std::int64_t element,
              float value);

/// The bytes of a tensor.
std::string tensor_bytes(const std::filesystem::path& file, const std::string& tensor);

/// Cuts a file to so many bytes.
void truncate(const std::filesystem::path& file, std::uintmax_t bytes);

}  // namespace coppice::cli::test
