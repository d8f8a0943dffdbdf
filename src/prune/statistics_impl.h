// The insides of a statistics file, for reader, writer and merge. Not part of the public API.
#pragma once

#include <string>

#include "coppice/safetensors.h"
#include "coppice/statistics.h"

namespace coppice {

namespace prune {

// Endings of tensor names, and keys of the metadata (docs/statistics.md).
inline constexpr const char *kGram = ".gram", *kSquareSums = ".square_sums", *kSamples = ".samples",
                            *kFisher = ".fisher", *kFisherSamples = ".fisher_samples";
inline constexpr const char *kVersionKey = "coppice.statistics", *kVersion = "1",
                            *kWeightsKey = "weights", *kSetKey = "set";

}  // namespace prune

struct StatisticsFile::Impl {
  SafetensorsFile file;
  StatisticsContents contents;

  /// The bytes of tensor `name + ending`, or nothing.
  std::span<const std::byte> data(const std::string& name, const char* ending) const;
  /// The sums of squares, checked against the Gram matrix if there is one. Throws FileError.
  std::vector<double> square_sums(const InputInfo& input) const;
  /// Throws FileError if the numbers of the Gram matrix are no Gram matrix.
  void check_gram(const InputInfo& input, int threads) const;
  /// The Fisher sums as doubles, checked. Throws FileError.
  std::vector<double> fisher_sums(const FisherInfo& fisher, int threads) const;
};

}  // namespace coppice
