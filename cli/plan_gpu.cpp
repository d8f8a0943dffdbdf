#include "plan_gpu.h"

#include <fmt/format.h>

#include <cstdlib>
#include <filesystem>
#include <system_error>

#include "console.h"
#include "coppice/cancel.h"
#include "coppice/error.h"
#include "cuda/model/constants_file.h"
#include "device.h"

#if COPPICE_HAS_CUDA
#include "bench/cuda/gpu_bench.h"
#include "cuda/gpu_model.h"
#include "cuda/identity.h"
#include "cuda/weight.h"
#endif

namespace coppice::cli {
namespace {

using cuda::model::Calibration;
using cuda::model::Gpu;

// The name of this machine's GPU, or nothing.
std::string name_here() {
#if COPPICE_HAS_CUDA
  if (usable_gpus() > 0) return cuda::gpu_identity(0).name;
#endif
  return "";
}

Gpu guess_here() {
#if COPPICE_HAS_CUDA
  return cuda::gpu_model(0, cuda::device_info(0));
#else
  return cuda::model::built_in_gpu();
#endif
}

// Constants of the file that was named, or of the cache. A cache in a home that this user may not
// enter, as in a container that runs under another user, has none for it.
std::vector<Calibration> known_calibrations(const std::string& named) {
  if (!named.empty()) return cuda::model::read_calibrations(named);
  std::error_code error;
  const std::string file = cuda::model::constants_file();
  const bool there = std::filesystem::exists(file, error);
  if (!there && error == std::errc::permission_denied && !std::getenv("COPPICE_GPU_MODEL"))
    return {};
  return cuda::model::read_calibrations(file);
}

}  // namespace

Gpu plan_gpu(const std::string& name, const std::string& file, bool here) {
  if (!file.empty() && !std::filesystem::exists(file))
    throw FileError(fmt::format("{}: no such file; 'coppice calibrate -o FILE' writes one", file));
  const std::vector<Calibration> known = known_calibrations(file);
  const std::string local = name_here();
  if (here && !name.empty())
    throw UsageError("--measure and --gpu exclude each other: it measures on this machine's GPU");
  const std::string wanted = name.empty() ? local : name;
  if (!wanted.empty())
    if (const Calibration* found = cuda::model::find_calibration(known, wanted)) return found->gpu;
  if (name.empty() && !local.empty()) return guess_here();
  Gpu gpu = cuda::model::built_in_gpu();
  if (name.empty()) {
    gpu.source += ": no GPU here";
    return gpu;
  }
  Calibration built_in;
  built_in.gpu = gpu;
  if (cuda::model::find_calibration({built_in}, name) != nullptr) return gpu;
  std::vector<std::string> names;
  for (const Calibration& c : known) names.push_back(c.gpu.name);
  names.push_back(gpu.name);
  throw UsageError(
      fmt::format("--gpu '{}': constants are known of {}; 'coppice calibrate' measures "
                  "others",
                  name, fmt::join(names, ", ")));
}

#if COPPICE_HAS_CUDA

namespace {

bench::GpuBenchOptions quick() {
  bench::GpuBenchOptions options;
  options.quick = true;
  return options;
}

}  // namespace

struct PlanTimer::Impl {
  bench::GpuBench bench{quick()};
};

PlanTimer::PlanTimer(bool on) : impl_(on ? std::make_unique<Impl>() : nullptr) {}

void PlanTimer::time(PlanGroup& group, const PlanProduct& product,
                     std::vector<std::string>& notes) {
  if (impl_ == nullptr) return;
  for (PlanTime& time : group.patterns) {
    throw_if_cancelled();
    bench::BenchCase one;
    one.pattern = time.pattern;
    one.rows = group.shape.rows;
    one.cols = group.shape.cols;
    one.tokens = product.tokens;
    one.dtype = product.dtype;
    one.layout = product.layout;
    const bench::GpuResult result = impl_->bench.run(one).front();
    time.measured = result.candidate.median_seconds;
    time.kernel = result.kernel;
    if (result.baseline.median_seconds > 0) {
      group.dense.measured = result.baseline.median_seconds;
      group.dense.kernel = result.baseline_name;
    }
  }
  for (const std::string& text : impl_->bench.notes())
    if (std::ranges::find(notes, text) == notes.end()) notes.push_back(text);
}

#else

struct PlanTimer::Impl {};
PlanTimer::PlanTimer(bool) {}
void PlanTimer::time(PlanGroup&, const PlanProduct&, std::vector<std::string>&) {}

#endif

PlanTimer::~PlanTimer() = default;

}  // namespace coppice::cli
