// Holds the performance model against measured times (CSV of `coppice bench --device cuda
// --kernel all`): how far predictions are off, and how the kernel that it selects compares with the
// fastest one. Needs no GPU.
//
//   model_check docs/performance/h200/validation_2026-11-21.csv
//   model_check RUNS.csv --fit wgmma,dense --fit-shape 4096x4096 --constants built-in
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>
#include <set>

#include "bench/measured.h"
#include "bench/model_cases.h"
#include "bench/timing.h"
#include "coppice/error.h"
#include "cuda/candidates.h"
#include "cuda/model/fit.h"
#include "cuda/model/gpu.h"
#include "cuda/model/model.h"

namespace coppice::bench {
namespace {

using cuda::model::Constants;

struct Options {
  std::vector<std::string> files, fit, fit_shapes;
  bool rows = false, hold_out = false;
};

double off(double predicted, double measured) { return std::abs(predicted / measured - 1); }

double quantile(std::vector<double> values, double share) {
  if (values.empty()) return 0;
  std::ranges::sort(values);
  const auto last = static_cast<double>(values.size() - 1);
  return values[static_cast<std::size_t>(std::lround(share * last))];
}

std::string errors_text(const std::string& name, const std::vector<double>& errors) {
  return fmt::format("{:<28} {:>5} lines  median {:>5.1f} %  90th {:>5.1f} %  worst {:>6.1f} %\n",
                     name, errors.size(), 100 * quantile(errors, 0.5), 100 * quantile(errors, 0.9),
                     100 * quantile(errors, 1));
}

std::string shape_name(const MeasuredProduct& m) { return fmt::format("{}x{}", m.rows, m.cols); }

// The cases that have several kernels, and what selection makes of them.
struct Choices {
  int cases = 0, single = 0, unmeasured = 0, within = 0;
  double worst = 1;
  std::string worst_case;
};

Choices judge_choices(const std::vector<ModelCase>& cases) {
  Choices all;
  for (const ModelCase& c : cases) {
    if (c.lines.size() < 2) {
      ++all.single;
      continue;
    }
    ++all.cases;
    double best = 1e30, chosen = 0;
    for (const ModelLine& line : c.lines) {
      best = std::min(best, line.measured->seconds);
      if (line.is_selected) chosen = line.measured->seconds;
    }
    if (chosen == 0) {
      ++all.unmeasured;
      continue;
    }
    all.within += chosen <= 1.05 * best ? 1 : 0;
    if (chosen / best > all.worst) {
      all.worst = chosen / best;
      const MeasuredProduct& m = *c.lines[0].measured;
      all.worst_case =
          fmt::format("{} {} {} tokens", m.pattern.to_string(), shape_name(m), m.tokens);
    }
  }
  return all;
}

void print_lines(const std::vector<ModelCase>& cases) {
  for (const ModelCase& c : cases)
    for (const ModelLine& line : c.lines) {
      const MeasuredProduct& m = *line.measured;
      fmt::print("{:<12} {:<4} {:<7} {:>5} {:>12} {:<44} {:>9.2f} {:>9.2f} {:>6.2f} {}{}\n",
                 m.pattern.to_string(), dtype_name(m.dtype),
                 m.layout == Layout::token_major ? "token" : "feature", m.tokens, shape_name(m),
                 cuda::tile_name(line.selection), 1e6 * m.seconds, 1e6 * line.cost.seconds,
                 line.cost.seconds / m.seconds, cuda::model::limit_name(line.cost.limit),
                 line.is_selected ? " *" : "");
    }
}

void report(const std::vector<ModelCase>& cases, const std::vector<DenseCase>& dense,
            const cuda::DeviceInfo& device) {
  std::map<std::string, std::vector<double>> by_family;
  std::vector<double> all, selected, libraries;
  for (const ModelCase& c : cases)
    for (const ModelLine& line : c.lines) {
      const double error = off(line.cost.seconds, line.measured->seconds);
      by_family[family_name(line.selection.family)].push_back(error);
      all.push_back(error);
      if (line.is_selected) selected.push_back(error);
    }
  for (const auto& [name, errors] : by_family) fmt::print("{}", errors_text(name, errors));
  std::map<std::string, std::vector<double>> by_dtype;
  for (const DenseCase& d : dense)
    by_dtype[fmt::format("dense {}", dtype_name(d.dtype))].push_back(
        off(d.predicted(device), d.seconds));
  for (const auto& [name, errors] : by_dtype) fmt::print("{}", errors_text(name, errors));
  fmt::print("{}", errors_text("every kernel", all));
  fmt::print("{}", errors_text("the selected kernel", selected));
  const Choices choices = judge_choices(cases);
  const int judged = choices.cases - choices.unmeasured;
  fmt::print(
      "selection: {} cases of several kernels; within 5 % of the fastest in {} ({:.1f} %), worst "
      "{:.2f} ({}); not measured: {}\n",
      judged, choices.within, judged > 0 ? 100.0 * choices.within / judged : 0, choices.worst,
      choices.worst_case, choices.unmeasured);
}

int run(const Options& options) {
  std::vector<MeasuredProduct> measured;
  for (const std::string& file : options.files)
    for (MeasuredProduct& product : read_measured(file)) measured.push_back(std::move(product));
  cuda::DeviceInfo device = cuda::model::built_in_gpu().device;
  Constants constants;
  const std::set<std::string> fitted(options.fit_shapes.begin(), options.fit_shapes.end());
  const auto is_fitted = [&](const MeasuredProduct& m) {
    return fitted.empty() || fitted.contains(shape_name(m));
  };
  if (!options.fit.empty()) {
    std::vector<MeasuredProduct> samples;
    std::ranges::copy_if(measured, std::back_inserter(samples), is_fitted);
    fit_families(constants, options.fit, samples, device);
    cuda::model::for_each_constant(constants, [&](const std::string& name, double value) {
      fmt::print("{:<32} {:.4g}\n", name, value);
    });
  }
  device.constants = &constants;
  if (options.hold_out) std::erase_if(measured, is_fitted);
  int unknown = 0;
  const std::vector<ModelCase> cases = model_cases(measured, device, &unknown);
  if (options.rows) print_lines(cases);
  report(cases, dense_cases(measured), device);
  fmt::print("{} cases; {} lines name kernels that there are no more\n", cases.size(), unknown);
  return 0;
}

}  // namespace
}  // namespace coppice::bench

int main(int argc, char** argv) {
  CLI::App app("Holds the performance model against measured times", "model_check");
  coppice::bench::Options options;
  app.add_option("csv", options.files, "Of `coppice bench --device cuda`")->required();
  app.add_option("--fit", options.fit, "Families whose constants are fitted first")->delimiter(',');
  app.add_option("--fit-shape", options.fit_shapes, "Only to lines of these shapes")
      ->delimiter(',');
  app.add_flag("--hold-out", options.hold_out, "Judge the other shapes only");
  app.add_flag("--lines", options.rows, "Print every line");
  CLI11_PARSE(app, argc, argv);
  try {
    return coppice::bench::run(options);
  } catch (const std::exception& error) {
    fmt::print(stderr, "model_check: error: {}\n", error.what());
    return 1;
  }
}
