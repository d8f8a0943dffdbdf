// The file in which `coppice calibrate` keeps the constants of GPUs. Pure host code.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cuda/model/gpu.h"

namespace coppice::cuda::model {

/// What was measured on one GPU.
struct Calibration {
  Gpu gpu;
  std::string driver, date;
};

/// $COPPICE_GPU_MODEL, else coppice/gpu_model.json in $XDG_CACHE_HOME or ~/.cache; empty without a
/// home.
std::string constants_file();

/// Of the file's text; `name` is what to call it in messages. Throws FileError for anything that is
/// not a calibration by this version: too large, not JSON, another format, constants that are
/// missing, unknown, not finite or not positive, devices that cannot be.
std::vector<Calibration> parse_calibrations(const std::string& text, const std::string& name);
std::string calibrations_text(const std::vector<Calibration>& calibrations);

/// None if there is no such file. Throws FileError as parse_calibrations.
std::vector<Calibration> read_calibrations(const std::string& file);

/// Puts one into the file, in place of what it had of the same GPU; a file that cannot be read is
/// replaced. Nobody sees a half-written one. Throws FileError.
void keep_calibration(const std::string& file, const Calibration& calibration);

/// By its name, or a part of it such as "h200" if only one has that.
const Calibration* find_calibration(const std::vector<Calibration>& all, const std::string& name);

}  // namespace coppice::cuda::model
