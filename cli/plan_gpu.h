// The GPU of `coppice plan`: its constants, and times measured on it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "plan_speeds.h"

namespace coppice::cli {

/// The GPU of that name (empty: this machine's, if there is one that can be used, else an H200), in
/// the constants file (empty: the default one; only a file that was named has to exist). Throws
/// UsageError with the names that there are, or FileError. `here`: it must be this machine's.
cuda::model::Gpu plan_gpu(const std::string& name, const std::string& file, bool here);

/// Measures on this machine's GPU.
class PlanTimer {
 public:
  /// Without `on` it does nothing. Throws DeviceError.
  explicit PlanTimer(bool on);
  ~PlanTimer();

  /// Fills in what is measured. Row segments are not in its random weights: they cost no time.
  void time(PlanGroup& group, const PlanProduct& product, std::vector<std::string>& notes);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace coppice::cli
