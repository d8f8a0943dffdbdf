#include "bench/cuda/calibrate.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <ctime>
#include <map>

#include "bench/cuda/dense_baselines.h"
#include "bench/cuda/gpu_bench.h"
#include "bench/cuda/protocol.h"
#include "bench/cuda/sm_clock.h"
#include "bench/cuda/stream_read.h"
#include "bench/model_cases.h"
#include "coppice/cancel.h"
#include "coppice/error.h"
#include "cuda/gpu_model.h"
#include "cuda/identity.h"
#include "cuda/weight.h"

namespace coppice::bench {
namespace {

using cuda::model::Constants;

struct Shape {
  std::int64_t rows, cols;
  Layout layout;
};

// Square, many rows, and few; every family with few and with many tokens, in both layouts.
constexpr std::array kShapes = {Shape{4096, 4096, Layout::token_major},
                                Shape{12288, 4096, Layout::token_major},
                                Shape{3072, 6144, Layout::feature_major}};
constexpr std::array kPatterns = {"2:4",     "64:2:5", "64:2:8",    "128:2:8",    "64:2:16",
                                  "256:2:8", "16:2:5", "16:2:8",    "32:2:16",    "2:8",
                                  "4:8",     "2:16",   "vw32/8:32", "vw128/8:32", "bw4x4/8:32"};
constexpr std::array<std::int64_t, 5> kTokens = {1, 16, 64, 256, 4096};
// Beyond it kernels that read a weight of elements for every few tokens are nothing new, and slow;
// these are for many, and timed on one shape.
constexpr std::int64_t kMostElementTokens = 512;
constexpr const char* kManyTokenKernels = "gather,window,unpack";

bool leaves_out_kernels(const BenchCase& c) {
  return c.tokens > kMostElementTokens && !c.pattern.fits_sparse_tensor_cores();
}

std::string today() {
  const std::time_t now = std::time(nullptr);
  char text[16] = {};
  std::strftime(text, sizeof text, "%Y-%m-%d", std::gmtime(&now));
  return text;
}

class Stream {
 public:
  Stream() { check_cuda(cudaStreamCreate(&stream_), "cudaStreamCreate"); }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  ~Stream() { cudaStreamDestroy(stream_); }
  operator cudaStream_t() const { return stream_; }

 private:
  cudaStream_t stream_ = nullptr;
};

double seconds_of(const DeviceCall& call, cudaStream_t stream) {
  ReplayedCall replayed(call, stream, kQuickSeconds);
  std::vector<double> seconds;
  for (int i = 0; i < kReplays; ++i) seconds.push_back(replayed.replay());
  return median(seconds);
}

// Memory, L2 to the multiprocessors, and what a kernel takes that does nothing.
void measure_levels(Constants& c, const cuda::DeviceInfo& device, cudaStream_t stream) {
  StreamCeiling ceiling(stream);
  c.memory_bytes = ceiling.bandwidth();
  const std::int64_t bytes = std::max<std::int64_t>(1 << 20, device.l2_bytes / 4 / 4096 * 4096);
  const DeviceMemory data = random_values(bytes / 2, Dtype::f16, 7);
  const DeviceMemory sink(4096);
  const auto read = [&](std::int64_t size) {
    return seconds_of(
        [&, size](int, cudaStream_t on) { launch_stream_read(data.data(), size, sink.data(), on); },
        stream);
  };
  c.launch_seconds = read(4096);
  c.l2_bytes = static_cast<double>(bytes) / (read(bytes) - c.launch_seconds / 2);
}

MeasuredProduct measured_product(const BenchCase& c) {
  MeasuredProduct m;
  m.pattern = c.pattern;
  m.dtype = c.dtype;
  m.layout = c.layout;
  m.rows = c.rows;
  m.cols = c.cols;
  m.tokens = c.tokens;
  return m;
}

// Dense products, as lines of a "pattern" dense: their times alone count.
std::vector<MeasuredProduct> measure_dense(cudaStream_t stream, std::vector<std::string>& notes) {
  std::vector<MeasuredProduct> all;
  DenseBaselines baselines(stream, [&](const std::string& text) { notes.push_back(text); });
  const auto measure = [&](std::int64_t rows, std::int64_t cols, std::int64_t tokens, Dtype dtype) {
    BenchCase c;
    c.rows = rows;
    c.cols = cols;
    c.tokens = tokens;
    c.dtype = dtype;
    const DenseBaseline& dense = baselines.of(c);
    if (dense.replayed == nullptr) return;
    std::vector<double> seconds;
    for (int i = 0; i < kReplays; ++i) seconds.push_back(dense.replayed->replay());
    MeasuredProduct m = measured_product(c);
    m.dense_seconds = median(seconds);
    if (dense.fp8_tokens == tokens) m.fp8_seconds = dense.fp8_seconds;
    all.push_back(m);
  };
  for (const std::int64_t tokens : {1, 64, 512, 4096}) measure(4096, 4096, tokens, Dtype::f16);
  for (const std::int64_t tokens : {16, 256, 4096}) measure(12288, 4096, tokens, Dtype::f16);
  for (const std::int64_t tokens : {1, 256, 2048}) measure(4096, 4096, tokens, Dtype::f32);
  return all;
}

// The best rate that a dense product of the type reaches.
void measure_peaks(Constants& c, const std::vector<MeasuredProduct>& dense) {
  std::map<Dtype, double> best;
  for (const MeasuredProduct& m : dense)
    best[m.dtype] = std::max(best[m.dtype], 2.0 * static_cast<double>(m.rows * m.cols) *
                                                static_cast<double>(m.tokens) / m.dense_seconds);
  if (best.contains(Dtype::f16)) c.tensor_flops = best[Dtype::f16];
  if (best.contains(Dtype::f32)) c.core_flops = best[Dtype::f32];
}

std::vector<BenchCase> product_cases() {
  std::vector<BenchCase> cases;
  for (const Shape& shape : kShapes)
    for (const char* text : kPatterns) {
      const Pattern pattern = Pattern::parse(text);
      for (const std::int64_t tokens : kTokens) {
        BenchCase c;
        c.pattern = pattern;
        c.rows = shape.rows;
        c.cols = shape.cols;
        c.tokens = tokens;
        c.dtype = Dtype::f16;
        c.layout = shape.layout;
        if (leaves_out_kernels(c) && shape.rows != shape.cols) continue;
        cases.push_back(c);
        // Products of many tokens are timed in both layouts, on one shape.
        c.layout = Layout::feature_major;
        if (shape.rows == shape.cols && (tokens == 16 || tokens == 4096)) cases.push_back(c);
      }
    }
  const auto add_f32 = [&](const char* text, std::int64_t tokens) {
    BenchCase c;
    c.pattern = Pattern::parse(text);
    c.rows = c.cols = 4096;
    c.tokens = tokens;
    c.dtype = Dtype::f32;
    cases.push_back(c);
  };
  for (const char* text : {"16:32", "8:32", "3:32", "vw32/8:32"})
    for (const std::int64_t tokens : {1, 4, 64}) add_f32(text, tokens);
  return cases;
}

std::vector<MeasuredProduct> measure_products(
    const std::function<void(double, const std::string&)>& progress) {
  std::vector<MeasuredProduct> all;
  const auto options = [](const char* kernels) {
    return GpuBenchOptions{
        .with_baseline = false, .kernel = kernels, .token_group = 0, .tune = false, .quick = true};
  };
  GpuBench every(options("all")), many(options(kManyTokenKernels));
  const auto results_of = [&](const BenchCase& c) -> std::vector<GpuResult> {
    if (!leaves_out_kernels(c)) return every.run(c);
    try {
      return many.run(c);
    } catch (const InvalidArgument&) {  // none of them: there is no cuBLASLt to expand for
      return {};
    }
  };
  const std::vector<BenchCase> cases = product_cases();
  for (std::size_t i = 0; i < cases.size(); ++i) {
    throw_if_cancelled();
    progress(static_cast<double>(i) / static_cast<double>(cases.size()),
             cases[i].pattern.to_string());
    for (const GpuResult& r : results_of(cases[i])) {
      MeasuredProduct m = measured_product(cases[i]);
      m.kernel = r.kernel;
      m.configuration = r.configuration;
      m.seconds = r.candidate.median_seconds;
      all.push_back(m);
    }
  }
  return all;
}

std::vector<FitError> fit_errors(const std::vector<MeasuredProduct>& measured,
                                 const std::vector<MeasuredProduct>& dense,
                                 const cuda::DeviceInfo& device) {
  std::map<std::string, std::vector<double>> off;
  int unknown = 0;
  for (const ModelCase& c : model_cases(measured, device, &unknown))
    for (const ModelLine& line : c.lines)
      off[family_name(line.selection.family)].push_back(
          std::abs(line.cost.seconds / line.measured->seconds - 1));
  for (const DenseCase& d : dense_cases(dense))
    off["dense"].push_back(std::abs(d.predicted(device) / d.seconds - 1));
  std::vector<FitError> errors;
  for (auto& [family, values] : off) {
    std::ranges::sort(values);
    errors.push_back({family, static_cast<int>(values.size()), values[values.size() / 2],
                      values[values.size() * 9 / 10]});
  }
  return errors;
}

}  // namespace

CalibrationRun calibrate_gpu(const std::function<void(double, const std::string&)>& progress) {
  int number = 0;
  cuda::check(cudaGetDevice(&number), "asking for the current device");
  const cuda::DeviceInfo& device = cuda::device_info(number);
  const cuda::GpuIdentity identity = cuda::gpu_identity(number);
  CalibrationRun run;
  cuda::model::Gpu& gpu = run.calibration.gpu;
  gpu.name = identity.name;
  gpu.device = device;
  gpu.device.constants = nullptr;
  run.calibration.driver = identity.driver;
  run.calibration.date = today();
  gpu.source = fmt::format("calibrated {}", run.calibration.date);
  if (identity.name != cuda::model::kBuiltInGpu)  // what cannot be measured here
    gpu.constants = cuda::model::guessed_constants(device, cuda::nominal_rates(number));

  const Stream stream;
  progress(0, "memory and L2");
  measure_levels(gpu.constants, device, stream);
  gpu.constants.clock_hz = cuda::nominal_rates(number).clock_hz;
  progress(0, "dense products");
  const std::vector<MeasuredProduct> dense = measure_dense(stream, run.notes);
  measure_peaks(gpu.constants, dense);
  run.measured = measure_products(progress);
  progress(1, "fitting");
  fit_families(gpu.constants, fitted_families(), run.measured, gpu.device);
  const std::vector<std::string> libraries = {"dense"};
  fit_families(gpu.constants, libraries, dense, gpu.device);
  run.errors = fit_errors(run.measured, dense, gpu.info());
  run.measured.insert(run.measured.end(), dense.begin(), dense.end());
  return run;
}

}  // namespace coppice::bench
