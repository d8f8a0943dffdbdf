#include "bench/cuda/gpu_bench.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <ranges>
#include <string_view>
#include <utility>

#include "bench/cuda/cusparselt.h"
#include "bench/cuda/dense_baselines.h"
#include "bench/cuda/operands.h"
#include "bench/cuda/protocol.h"
#include "bench/cuda/samples.h"
#include "bench/cuda/sm_clock.h"
#include "bench/cuda/stream_read.h"
#include "bench/sampled_error.h"
#include "coppice/cuda_tuner.h"
#include "coppice/error.h"
#include "cuda/blocked/blocked_select.h"
#include "cuda/candidates.h"
#include "cuda/check.h"
#include "cuda/identity.h"

namespace coppice::bench {
namespace {

double ratio(double a, double b) { return b > 0 ? a / b : 0; }

// Rounding of the output, and a little for sums in fp32 (f32: a random walk of so many of half an
// ulp, times four).
double error_bound(const BenchCase& c, std::int64_t kept, const cuda::Selection& selection) {
  if (cuda::is_tf32(selection)) return 6e-4;
  if (c.dtype == Dtype::f32)
    return 4 * std::ldexp(1.0, -24) * (std::sqrt(static_cast<double>(kept)) + 2);
  return c.dtype == Dtype::f16 ? 6e-4 : 4.5e-3;
}

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

std::string names(const cuda::Selection& selection) {
  return cuda::selection_name(selection) + "; " + cuda::configuration_name(selection);
}

// `kernels`: beginnings of names, separated by commas, or "all".
bool is_wanted(const std::string& name, std::string_view kernels) {
  if (kernels == "all") return true;
  for (const auto part : std::views::split(kernels, ','))
    if (name.starts_with(std::string_view(part.begin(), part.end()))) return true;
  return false;
}

void check_case(const BenchCase& c) {
  if (c.rows < 1 || c.cols < 1 || c.tokens < 1)
    throw InvalidArgument(fmt::format(
        "a benchmark needs sizes of 1 or more, got {} x {}, {} tokens", c.rows, c.cols, c.tokens));
  if (!cuda::can_multiply(c.pattern, c.dtype))
    throw InvalidArgument(fmt::format("{} in {} is not multiplied on the GPU; time it on the CPU",
                                      c.pattern.to_string(), dtype_name(c.dtype)));
}

// How often and how long everything is replayed.
struct Rounds {
  double seconds = kReplaySeconds;
  int replays = kReplays;
  int per_baseline = 1;           // replays of the sparse product between two of the dense one
  std::size_t clocks = kReplays;  // replays during which the clock is read
  int samples = kErrorSamples;
};

Rounds rounds_of(const GpuBenchOptions& options) {
  if (options.grid)
    return {kGridSeconds, kReplays, kGridPerBaseline, kGridClocks, kGridErrorSamples};
  if (options.quick) return {kQuickSeconds, kQuickReplays, 1, kQuickReplays, kErrorSamples};
  return {};
}

// The roofline of sparse tensor cores; of other patterns what memory alone allows.
GpuBound bound_of(const BenchCase& c, const GpuRates& rates) {
  if (c.pattern.fits_sparse_tensor_cores())
    return gpu_bound(c.pattern, c.rows, c.cols, c.tokens, rates);
  return {static_cast<double>(traffic(c).total()) / rates.memory_bytes, "memory"};
}

}  // namespace

double GpuResult::ratio() const {
  return bench::ratio(baseline.median_seconds, candidate.median_seconds);
}
double GpuResult::cusparselt_ratio() const {
  return bench::ratio(cusparselt_seconds, candidate.median_seconds);
}
double GpuResult::fp8_ratio() const { return bench::ratio(fp8_seconds, candidate.median_seconds); }
double GpuResult::gemv_ratio() const {
  return bench::ratio(gemv_seconds, candidate.median_seconds);
}
double GpuResult::cusparse_ratio() const {
  return bench::ratio(cusparse.seconds, candidate.median_seconds);
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
  Rounds rounds;
  int device = 0;
  cuda::GpuIdentity identity;
  GpuRates rates;
  SmClock clock;
  cudaStream_t stream = nullptr;
  std::vector<std::string> notes;
  std::optional<DenseBaselines> baselines;
  std::optional<StreamCeiling> ceiling;
  std::optional<Operands> operands;

  explicit Impl(GpuBenchOptions o)
      : options(std::move(o)),
        rounds(rounds_of(options)),
        device(current_device()),
        identity(cuda::gpu_identity(device)),
        rates(rates_of(device)),
        clock(device) {
    check_cuda(cudaStreamCreate(&stream), "cudaStreamCreate");
    const auto told = [this](const std::string& text) { note(text); };
    baselines.emplace(stream, told, options.grid, rounds.seconds);
    operands.emplace(options.grid, told);
    ceiling.emplace(stream);
  }
  ~Impl() {
    baselines.reset();
    operands.reset();
    cudaStreamDestroy(stream);
  }

  void note(const std::string& text) {
    if (std::ranges::find(notes, text) == notes.end()) notes.push_back(text);
  }

  double time_cusparselt(const BenchCase& c, const DenseBaseline& dense);
  std::vector<cuda::Selection> selections(const SparseProduct& product, RotatedWeight& weight,
                                          const BenchCase& c);
  GpuResult time(const SparseProduct& product, const cuda::Selection& selection, const BenchCase& c,
                 const DenseBaseline* dense);
  Streaming streaming(const BenchCase& c, double seconds);
};

double GpuBench::Impl::time_cusparselt(const BenchCase& c, const DenseBaseline& dense) {
  std::string reason;
  const auto product = make_cusparselt({c.rows, c.cols, c.tokens, c.dtype}, stream, &reason);
  if (product == nullptr) {
    note(fmt::format("no cuSPARSELt: {}", reason));
    return 0;
  }
  ReplayedCall replayed(product->call(), stream, kReplaySeconds);
  Samples samples(clock, 0);
  for (int i = 0; i < kReplays; ++i) {
    if (dense.replayed) dense.replayed->replay();  // as warm as the others
    samples.add(replayed, kReplaySeconds);
  }
  return samples.timing().median_seconds;
}

Streaming GpuBench::Impl::streaming(const BenchCase& c, double seconds) {
  Streaming result{traffic(c), {}, seconds};
  if (c.tokens <= kDecodeTokens && !options.quick && !options.grid)
    result.rates = {ceiling->bandwidth(), ceiling->bandwidth_of(result.bytes.total())};
  return result;
}

std::vector<cuda::Selection> GpuBench::Impl::selections(const SparseProduct& product,
                                                        RotatedWeight& weight, const BenchCase& c) {
  std::vector<cuda::Selection> wanted;
  if (options.kernel.empty()) {
    wanted.push_back(product.chosen());
  } else {
    for (const cuda::Selection& s : product.candidates())
      if (is_wanted(names(s), options.kernel)) wanted.push_back(s);
    if (wanted.empty())
      throw InvalidArgument(fmt::format(
          "no kernel for this product has a name that begins with one of '{}'", options.kernel));
  }
  if (options.token_group > 0)
    for (cuda::Selection& s : wanted) s.token_group = options.token_group;
  if (options.tune) {
    const cuda::TuneOptions tuning{.warn = [this](const std::string& text) { note(text); }};
    cuda::tune(weight[0], {{c.tokens, c.layout}}, tuning);
    const cuda::Selection tuned = product.chosen();
    if (cuda::configuration_name(tuned) != cuda::configuration_name(wanted[0]))
      wanted.push_back(tuned);
  }
  return wanted;
}

GpuResult GpuBench::Impl::time(const SparseProduct& product, const cuda::Selection& selection,
                               const BenchCase& c, const DenseBaseline* dense) {
  GpuResult result;
  result.bench_case = c;
  result.kernel = cuda::selection_name(selection);
  result.configuration = cuda::configuration_name(selection);
  result.checked = !options.quick;
  if (result.checked) result.error = product.error(selection, rounds.samples, stream);
  result.bound = bound_of(c, rates);

  // A B A B ... A.
  ReplayedCall replayed(product.call(selection), stream, rounds.seconds);
  const int replays = options.grid && replayed.is_slow() ? kSlowReplays : rounds.replays;
  Samples ours(clock, rounds.clocks), theirs(clock, rounds.clocks);
  ReplayedCall* baseline = dense != nullptr ? dense->replayed.get() : nullptr;
  const bool long_baseline = baseline != nullptr && baseline->length() > kLongReplay;
  const int per_baseline = options.grid && long_baseline ? replays : rounds.per_baseline;
  if (baseline != nullptr) theirs.add(*baseline, rounds.seconds);
  // As warm as beside a baseline: the clock depends on what ran before.
  for (int i = 0; i < replays && baseline == nullptr; ++i) replayed.replay();
  for (int i = 1; i <= replays; ++i) {
    ours.add(replayed, rounds.seconds);
    if (baseline != nullptr && (i % per_baseline == 0 || i == replays))
      theirs.add(*baseline, rounds.seconds);
  }
  result.candidate = ours.timing();
  result.clock_mhz = ours.clock();
  if (baseline != nullptr) {
    result.baseline = theirs.timing();
    result.baseline_clock_mhz = theirs.clock();
    result.baseline_name = dense->product->name();
  } else {
    result.baseline_name = dense != nullptr ? dense->why_not : "none: not asked for";
  }
  if (dense != nullptr) {
    result.fp8_seconds = dense->fp8_seconds;
    result.fp8_tokens = dense->fp8_tokens;
    result.gemv_seconds = dense->gemv_seconds;
  }
  result.streaming = streaming(c, result.candidate.median_seconds);
  return result;
}

GpuBench::GpuBench(GpuBenchOptions options) : impl_(std::make_unique<Impl>(std::move(options))) {}
GpuBench::~GpuBench() = default;

void GpuBench::check(const BenchCase& bench_case) { check_case(bench_case); }

std::vector<GpuResult> GpuBench::run(const BenchCase& c) {
  check_case(c);
  const DenseBaseline* dense = impl_->options.with_baseline ? &impl_->baselines->of(c) : nullptr;
  // Tuning leaves its marks on a weight: it must not meet the next case.
  if (impl_->options.tune) impl_->operands->forget_weights();
  RotatedWeight& weight = impl_->operands->weight(c);
  const SparseProduct product(weight, impl_->operands->activations(c), c);
  const double cusparselt = dense != nullptr && c.pattern.is_two_four() && c.dtype != Dtype::f32
                                ? impl_->time_cusparselt(c, *dense)
                                : 0;
  std::vector<GpuResult> results;
  for (const cuda::Selection& selection : impl_->selections(product, weight, c)) {
    GpuResult& result = results.emplace_back(impl_->time(product, selection, c, dense));
    result.cusparselt_seconds = cusparselt;
    result.packed_bytes = weight[0].bytes();
    result.error_bound = error_bound(c, weight.matrix().grid->kept(), selection);
    result.correct = !result.checked || result.error <= result.error_bound;
    if (impl_->options.grid) result.cusparse = impl_->operands->cusparse_time(c, impl_->stream);
  }
  return results;
}

const std::string& GpuBench::gpu() const { return impl_->identity.name; }
const std::string& GpuBench::driver() const { return impl_->identity.driver; }
const std::vector<std::string>& GpuBench::notes() const { return impl_->notes; }

}  // namespace coppice::bench
