// Statistics files of small checkpoints, and pruning with them.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "coppice/checkpoint.h"
#include "coppice/statistics.h"
#include "fixtures.h"
#include "subprocess.h"

namespace coppice::cli::test {

struct StatisticsSpec {
  StatisticsSet set = StatisticsSet::calibration;
  unsigned seed = 1;
  bool gram = true;
  std::string without = {};  ///< a weight that is left out
  std::int64_t samples = 80;
  std::int64_t dead = 0;    ///< so many first columns of every input are always 0
  std::int64_t fisher = 0;  ///< weights in a Fisher block; 0: no gradients
};

/// Random statistics of the model's linear weights; q, k and v share an input, as do gate and up.
/// @returns the path
std::string write_statistics(const std::string& model, const std::filesystem::path& path,
                             const StatisticsSpec& spec = {});

/// [rows, cols], row-major.
std::vector<float> values(const WeightData& data);

/// A tiny model, and `coppice prune --pattern 2:4 -o out()` of it with further options.
class PruneWithStatistics : public ::testing::Test {
 protected:
  PruneWithStatistics() : model(make_tiny(dir / "model")) {}

  Result prune(const std::vector<std::string>& options) const;
  void expect_failure(const std::vector<std::string>& options, int code, const char* text) const;
  std::string out() const { return (dir / "out").string(); }

  TempDir dir;
  std::string model;
};

}  // namespace coppice::cli::test
