// How long the layers of a table take on this machine, sparse and dense.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "bench/bench.h"
#include "console.h"

namespace coppice::cli {

struct LayerTime {
  std::int64_t tokens = 1;
  double dense_seconds = 0;  ///< 0 if the dense library is absent
  double sparse_seconds = 0;
  std::string kernel;
  double speedup() const { return dense_seconds > 0 ? dense_seconds / sparse_seconds : 0; }
};

/// Times each shape once, however many layers have it. The weights are random: the time of a
/// product does not depend on them.
class LayerTimer {
 public:
  /// @param tokens one measurement for each.
  LayerTimer(std::vector<std::int64_t> tokens, int threads);

  const std::vector<std::int64_t>& tokens() const { return tokens_; }
  /// One entry for each number of tokens; none where the CPU engine does not take the dtype or the
  /// layer is dense or empty.
  const std::vector<LayerTime>& time(std::int64_t rows, std::int64_t cols, const Pattern& pattern,
                                     Dtype dtype);
  int threads() const { return threads_; }
  /// The dense library, or why there is none.
  std::string baseline() const;

  /// The part of a table's header, row and JSON that belongs to timing.
  std::vector<std::string> header() const;
  std::vector<std::string> cells(const std::vector<LayerTime>& times) const;
  static Json json(const std::vector<LayerTime>& times);

 private:
  std::vector<std::int64_t> tokens_;
  int threads_;
  std::unique_ptr<bench::Bench> bench_;
  std::map<std::tuple<std::int64_t, std::int64_t, std::string, Dtype>, std::vector<LayerTime>>
      known_;
};

}  // namespace coppice::cli
