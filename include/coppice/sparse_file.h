// Compressed weights in one safetensors file: the arrays of a packed checkpoint, described in the
// file itself instead of in a config.json (docs/format.md).
//
//   coppice::write_sparse("weights.safetensors", {{"up_proj", sparse.view()}});
//   auto weights = coppice::read_sparse("weights.safetensors");
//   use(weights.at("up_proj"));
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <string>

#include "coppice/sparse_matrix.h"

namespace coppice {

/// Writes valid weights by name; the file appears under its name when it is complete. Throws
/// InvalidArgument (a weight without rows or columns, or
/// with more segments than those, a name that is not UTF-8, two names whose
/// arrays would be called the same), FileError or Cancelled.
void write_sparse(const std::filesystem::path& path,
                  const std::map<std::string, SparseView, std::less<>>& weights);

/// The weights of such a file, validated. Throws FileError, with the path, the weight and the
/// fault, or Cancelled.
std::map<std::string, SparseMatrix, std::less<>> read_sparse(const std::filesystem::path& path,
                                                             int threads = 1);

}  // namespace coppice
