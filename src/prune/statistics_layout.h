// The tensors and metadata of a statistics file that is to be written. Not part of the public API.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "prune/statistics_impl.h"

namespace coppice::prune {

class StatisticsLayout {
 public:
  /// Throws InvalidArgument if the contents do not fit together.
  explicit StatisticsLayout(StatisticsContents contents);

  const StatisticsContents& contents() const { return contents_; }
  const std::vector<TensorInfo>& tensors() const { return tensors_; }
  SafetensorsMetadata metadata() const;
  /// Where tensor `name + ending` stands among them. It must be there.
  std::size_t index(const std::string& name, const char* ending) const {
    return index_.at(name + ending);
  }

 private:
  void add(const std::string& name, const char* ending, Dtype dtype,
           std::vector<std::int64_t> shape);

  StatisticsContents contents_;
  std::vector<TensorInfo> tensors_;
  std::map<std::string, std::size_t> index_;
};

}  // namespace coppice::prune
