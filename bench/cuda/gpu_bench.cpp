#include "bench/cuda/gpu_bench.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <stdexcept>
#include <thread>

#include "bench/cuda/cusparselt.h"
#include "bench/cuda/dense.h"
#include "bench/cuda/sm_clock.h"
#include "bench/cuda/sparse_product.h"
#include "bench/random_weight.h"
#include "coppice/cuda_tuner.h"
#include "coppice/error.h"
#include "cuda/candidates.h"
#include "cuda/check.h"
#include "cuda/identity.h"

namespace coppice::bench {
namespace {

constexpr int kReplays = 7;
constexpr double kReplaySeconds = 8e-3;

double ratio(double a, double b) { return b > 0 ? a / b : 0; }

// Rounding of the output, and a little for sums in fp32.
double error_bound(Dtype dtype) { return dtype == Dtype::f16 ? 6e-4 : 4.5e-3; }

int current_device() {
  int device = 0;
  cuda::check(cudaGetDevice(&device), "asking for the current device");
  return device;
}

GpuRates rates_of(int device) {
  const auto attribute = [&](cudaDeviceAttr which) {
    int value = 0;
    cuda::check(cudaDeviceGetAttribute(&value, which, device), "asking for a device attribute");
    return value;
  };
  GpuDescription gpu;
  gpu.compute_capability = 10 * attribute(cudaDevAttrComputeCapabilityMajor) +
                           attribute(cudaDevAttrComputeCapabilityMinor);
  gpu.multiprocessors = attribute(cudaDevAttrMultiProcessorCount);
  gpu.clock_hz = 1e3 * attribute(cudaDevAttrClockRate);
  // Two transfers for a clock.
  gpu.memory_bytes_s =
      2e3 * attribute(cudaDevAttrMemoryClockRate) * attribute(cudaDevAttrGlobalMemoryBusWidth) / 8;
  return gpu_rates(gpu);
}

// Replays of one call and the clock meanwhile.
class Samples {
 public:
  explicit Samples(const SmClock& clock) : clock_(clock) {}
  void add(ReplayedCall& call) {
    // In the middle of the replay: the clock falls within milliseconds where power is short.
    seconds_.push_back(call.replay([&] {
      std::this_thread::sleep_for(std::chrono::duration<double>(kReplaySeconds / 2));
      clocks_.push_back(clock_.read());
    }));
  }
  Timing timing() const {
    const auto [least, most] = std::ranges::minmax(seconds_);
    return {median(seconds_), least, most, static_cast<int>(seconds_.size())};
  }
  unsigned clock() const { return static_cast<unsigned>(median(clocks_)); }

 private:
  const SmClock& clock_;
  std::vector<double> seconds_, clocks_;
};

// What all patterns of one shape are compared with.
struct Dense {
  BenchCase shape;
  std::unique_ptr<DenseProduct> product;
  std::unique_ptr<ReplayedCall> replayed;
  std::string why_not;
  double fp8_seconds = 0;

  bool fits(const BenchCase& c) const {
    return c.rows == shape.rows && c.cols == shape.cols && c.tokens == shape.tokens &&
           c.dtype == shape.dtype;
  }
};

std::string names(const cuda::Selection& selection) {
  return cuda::selection_name(selection) + "; " + cuda::configuration_name(selection);
}

void check_case(const BenchCase& c) {
  if (c.rows < 1 || c.cols < 1 || c.tokens < 1)
    throw InvalidArgument(fmt::format(
        "a benchmark needs sizes of 1 or more, got {} x {}, {} tokens", c.rows, c.cols, c.tokens));
  if (!c.pattern.fits_sparse_tensor_cores())
    throw InvalidArgument(fmt::format(
        "{} does not fit sparse tensor cores, only 2:4 and V:2:M do; time it on the CPU",
        c.pattern.to_string()));
  if (c.dtype != Dtype::f16 && c.dtype != Dtype::bf16)
    throw InvalidArgument(
        fmt::format("{} is not multiplied on the GPU, only F16 and BF16 are", dtype_name(c.dtype)));
}

}  // namespace

double GpuResult::ratio() const {
  return bench::ratio(baseline.median_seconds, candidate.median_seconds);
}
double GpuResult::cusparselt_ratio() const {
  return bench::ratio(cusparselt_seconds, candidate.median_seconds);
}
double GpuResult::tflops() const {
  const BenchCase& c = bench_case;
  const double weights = static_cast<double>(c.rows) * static_cast<double>(c.cols);
  return bench::ratio(2e-12 * weights * static_cast<double>(c.tokens), candidate.median_seconds);
}
double GpuResult::bound_fraction() const {
  return bench::ratio(bound.seconds, candidate.median_seconds);
}

struct GpuBench::Impl {
  GpuBenchOptions options;
  int device = 0;
  cuda::GpuIdentity identity;
  GpuRates rates;
  SmClock clock;
  cudaStream_t stream = nullptr;
  std::optional<Dense> dense;
  std::vector<std::string> notes;

  explicit Impl(GpuBenchOptions o)
      : options(std::move(o)),
        device(current_device()),
        identity(cuda::gpu_identity(device)),
        rates(rates_of(device)),
        clock(device) {
    check_cuda(cudaStreamCreate(&stream), "cudaStreamCreate");
  }
  ~Impl() {
    dense.reset();
    cudaStreamDestroy(stream);
  }

  void note(const std::string& text) {
    if (std::ranges::find(notes, text) == notes.end()) notes.push_back(text);
  }

  const Dense& dense_for(const BenchCase& c);
  double time_cusparselt(const BenchCase& c);
  std::vector<cuda::Selection> selections(SparseProduct& product, const BenchCase& c);
  GpuResult time(SparseProduct& product, const cuda::Selection& selection, const BenchCase& c);
};

const Dense& GpuBench::Impl::dense_for(const BenchCase& c) {
  if (dense && dense->fits(c)) return *dense;
  dense.emplace().shape = c;
  const bool bf16 = c.dtype == Dtype::bf16;
  try {
    auto product =
        std::make_unique<DenseProduct>(DenseProblem{c.rows, c.cols, c.tokens, bf16, false}, stream);
    if (!product->choose()) throw std::runtime_error("no dense product runs");
    dense->replayed = std::make_unique<ReplayedCall>(product->call(), stream, kReplaySeconds);
    dense->product = std::move(product);
    DenseProduct fp8({c.rows, c.cols, c.tokens, false, true}, stream);
    if (fp8.choose()) {
      ReplayedCall replayed(fp8.call(), stream, kReplaySeconds);
      std::vector<double> seconds;
      for (int i = 0; i < kReplays; ++i) seconds.push_back(replayed.replay());
      dense->fp8_seconds = median(seconds);
    }
  } catch (const std::runtime_error& error) {
    if (!dense->product) dense->why_not = fmt::format("none: {}", error.what());
    note(fmt::format("no dense baseline: {}", error.what()));
  }
  return *dense;
}

double GpuBench::Impl::time_cusparselt(const BenchCase& c) {
  std::string reason;
  const auto product =
      make_cusparselt({c.rows, c.cols, c.tokens, c.dtype == Dtype::bf16, false}, stream, &reason);
  if (product == nullptr) {
    note(fmt::format("no cuSPARSELt: {}", reason));
    return 0;
  }
  ReplayedCall replayed(product->call(), stream, kReplaySeconds);
  Samples samples(clock);
  for (int i = 0; i < kReplays; ++i) {
    if (dense->replayed) dense->replayed->replay();  // as warm as the others
    samples.add(replayed);
  }
  return samples.timing().median_seconds;
}

std::vector<cuda::Selection> GpuBench::Impl::selections(SparseProduct& product,
                                                        const BenchCase& c) {
  std::vector<cuda::Selection> wanted;
  if (options.kernel.empty()) {
    wanted.push_back(product.chosen());
  } else {
    for (const cuda::Selection& s : product.candidates())
      if (options.kernel == "all" || names(s).starts_with(options.kernel)) wanted.push_back(s);
    if (wanted.empty())
      throw InvalidArgument(fmt::format(
          "no kernel for this product has a name that begins with '{}'", options.kernel));
  }
  if (options.token_group > 0)
    for (cuda::Selection& s : wanted) s.token_group = options.token_group;
  if (options.tune) {
    const cuda::TuneOptions tuning{.warn = [this](const std::string& text) { note(text); }};
    cuda::tune(product.first_weight(), {{c.tokens, c.layout}}, tuning);
    const cuda::Selection tuned = product.chosen();
    if (cuda::configuration_name(tuned) != cuda::configuration_name(wanted[0]))
      wanted.push_back(tuned);
  }
  return wanted;
}

GpuResult GpuBench::Impl::time(SparseProduct& product, const cuda::Selection& selection,
                               const BenchCase& c) {
  GpuResult result;
  result.bench_case = c;
  result.kernel = cuda::selection_name(selection);
  result.configuration = cuda::configuration_name(selection);
  result.error = product.error(selection, stream);
  result.error_bound = error_bound(c.dtype);
  result.correct = result.error <= result.error_bound;
  result.bound = gpu_bound(c.pattern, c.rows, c.cols, c.tokens, rates);

  // A B A B ... A.
  ReplayedCall replayed(product.call(selection), stream, kReplaySeconds);
  Samples ours(clock), theirs(clock);
  ReplayedCall* baseline = options.with_baseline ? dense->replayed.get() : nullptr;
  if (baseline != nullptr) theirs.add(*baseline);
  // As warm as beside a baseline: the clock depends on what ran before.
  for (int i = 0; i < kReplays && baseline == nullptr; ++i) replayed.replay();
  for (int i = 0; i < kReplays; ++i) {
    ours.add(replayed);
    if (baseline != nullptr) theirs.add(*baseline);
  }
  result.candidate = ours.timing();
  result.clock_mhz = ours.clock();
  if (baseline != nullptr) {
    result.baseline = theirs.timing();
    result.baseline_clock_mhz = theirs.clock();
    result.baseline_name = dense->product->name();
    result.fp8_seconds = dense->fp8_seconds;
  } else {
    result.baseline_name = options.with_baseline ? dense->why_not : "none: not asked for";
  }
  return result;
}

GpuBench::GpuBench(GpuBenchOptions options) : impl_(std::make_unique<Impl>(std::move(options))) {}
GpuBench::~GpuBench() = default;

void GpuBench::check(const BenchCase& bench_case) { check_case(bench_case); }

std::vector<GpuResult> GpuBench::run(const BenchCase& c) {
  check_case(c);
  if (impl_->options.with_baseline) impl_->dense_for(c);
  const SparseMatrix weight = random_weight(c.pattern, c.rows, c.cols, c.dtype, 1);
  SparseProduct product(weight, c);
  double cusparselt = 0;
  if (impl_->options.with_baseline && c.pattern.is_two_four())
    cusparselt = impl_->time_cusparselt(c);
  std::vector<GpuResult> results;
  for (const cuda::Selection& selection : impl_->selections(product, c)) {
    results.push_back(impl_->time(product, selection, c));
    results.back().cusparselt_seconds = cusparselt;
  }
  return results;
}

const std::string& GpuBench::gpu() const { return impl_->identity.name; }
const std::string& GpuBench::driver() const { return impl_->identity.driver; }
const std::vector<std::string>& GpuBench::notes() const { return impl_->notes; }

}  // namespace coppice::bench
