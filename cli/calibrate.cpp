// coppice calibrate: the constants of the performance model, measured on this GPU.
#include <fmt/format.h>

#include <CLI/CLI.hpp>

#include "bench_gpu.h"
#include "command.h"
#include "console.h"
#include "coppice/error.h"
#include "progress.h"
#include "table.h"
#include "units.h"

#if COPPICE_HAS_CUDA
#include "bench/cuda/calibrate.h"
#include "cuda/model/constants_file.h"
#endif

namespace coppice::cli {
namespace {

constexpr const char* kDetails =
    "Examples:\n"
    "  coppice calibrate\n"
    "  coppice calibrate -o h200.json --json\n"
    "\n"
    "Measures what the performance model (docs/performance/model.md) needs to know of this GPU: "
    "streaming bandwidth, L2, launches, dense products of cuBLAS, and a few hundred sparse "
    "products of every kernel; about two minutes on an H200. The constants go to the file that the "
    "library and 'coppice plan' read: --output, else $COPPICE_GPU_MODEL, else "
    "coppice/gpu_model.json in $XDG_CACHE_HOME or ~/.cache. Selection of kernels follows them from "
    "the next process on.\n"
    "(Statistics of a model's activations come from 'python -m coppice.calibrate'.)";

class CalibrateCommand final : public Command {
 public:
  std::string name() const override { return "calibrate"; }
  std::string summary() const override {
    return "Measure a GPU for the performance model that chooses kernels and patterns";
  }
  std::string details() const override { return kDetails; }
  void declare(CLI::App& app) override {
    app.add_option("-o,--output", output_, "File for the constants; other GPUs in it stay")
        ->type_name("FILE");
    app.add_option("--csv", csv_, "Write what was measured to this file as well")
        ->type_name("FILE");
    add_json(app);
  }
  int run() override;

 private:
  std::string output_, csv_;
};

#if COPPICE_HAS_CUDA

std::string levels_text(const cuda::model::Constants& c) {
  return fmt::format(
      "memory {:.2f} TB/s, L2 {:.1f} TB/s, clock {:.2f} GHz, launch {}, dense 16-bit {:.0f} "
      "TFLOP/s, fp32 {:.0f} TFLOP/s\n",
      1e-12 * c.memory_bytes, 1e-12 * c.l2_bytes, 1e-9 * c.clock_hz,
      human_seconds(c.launch_seconds), 1e-12 * c.tensor_flops, 1e-12 * c.core_flops);
}

Json calibration_json(const bench::CalibrationRun& run, const std::string& file) {
  Json constants = Json::object(), errors = Json::array();
  cuda::model::for_each_constant(run.calibration.gpu.constants,
                                 [&](const char* name, double value) { constants[name] = value; });
  for (const bench::FitError& e : run.errors)
    errors.push_back({{"family", e.family},
                      {"products", e.products},
                      {"median_error", e.median},
                      {"ninetieth_error", e.ninetieth}});
  return {{"version", COPPICE_VERSION},
          {"gpu", run.calibration.gpu.name},
          {"driver", run.calibration.driver},
          {"date", run.calibration.date},
          {"file", file},
          {"constants", constants},
          {"fit", errors}};
}

int CalibrateCommand::run() {
  const std::string file = output_.empty() ? cuda::model::constants_file() : output_;
  if (file.empty())
    throw UsageError("no home directory to keep the constants in: name a file with --output");
  resolve_device("cuda");
  Progress progress("measuring");
  const bench::CalibrationRun run =
      bench::calibrate_gpu([&](double share, const std::string& what) {
        progress.update(static_cast<std::int64_t>(100 * share), 100, what);
      });
  progress.clear();
  for (const std::string& text : run.notes) note(text);
  cuda::model::keep_calibration(file, run.calibration);
  if (!csv_.empty()) write_lines(csv_, bench::measured_lines(run.measured));
  if (json_) {
    print_json(calibration_json(run, file));
    return 0;
  }
  Table table({{"kernels", Align::left}, {"products"}, {"median error"}, {"90th percentile"}});
  for (const bench::FitError& e : run.errors)
    table.add({e.family, fmt::format("{}", e.products), percent(e.median), percent(e.ninetieth)});
  print(fmt::format("{}, driver {}: ", run.calibration.gpu.name, run.calibration.driver) +
        levels_text(run.calibration.gpu.constants) + table.to_string() +
        fmt::format("errors: of the fitted model over the products that it was fitted to.\n"
                    "kept in {}\n",
                    file));
  return 0;
}

#else

int CalibrateCommand::run() {
  resolve_device("cuda");
  return 1;
}

#endif

}  // namespace

std::unique_ptr<Command> make_calibrate() { return std::make_unique<CalibrateCommand>(); }

}  // namespace coppice::cli
