// The constants of the performance model, measured on the current GPU (docs/performance/model.md).
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "bench/measured.h"
#include "cuda/model/constants_file.h"

namespace coppice::bench {

/// How far the fitted model is off over the products that it was fitted to.
struct FitError {
  std::string family;
  int products = 0;
  double median = 0, ninetieth = 0;  ///< of |predicted / measured - 1|
};

struct CalibrationRun {
  cuda::model::Calibration calibration;
  std::vector<MeasuredProduct> measured;
  std::vector<FitError> errors;
  std::vector<std::string> notes;  ///< what could not be measured, and keeps its built-in constants
};

/// Takes about two minutes on an H200. @param progress is told what comes next, and how much is
/// done. Throws DeviceError.
CalibrationRun calibrate_gpu(const std::function<void(double, const std::string&)>& progress);

}  // namespace coppice::bench
