// coppice bench: shapes x patterns x tokens against the dense library.
#include "bench/bench.h"

#include <CLI/CLI.hpp>
#include <array>

#include "bench/grid.h"
#include "bench/report.h"
#include "bench/shapes.h"
#include "bench_gpu.h"
#include "command.h"
#include "console.h"
#include "coppice/cancel.h"
#include "coppice/error.h"
#include "progress.h"
#include "units.h"

namespace coppice::cli {
namespace {

constexpr const char* kDetails =
    "Examples:\n"
    "  coppice bench\n"
    "  coppice bench --pattern 2:4,64:2:8 --shape 4096x4096,11008x4096 --tokens 1,256 --threads 2\n"
    "  coppice bench --shapes bench/shapes.csv --pattern vw32/8:32 --csv results.csv\n"
    "  coppice bench --device cuda --pattern 2:4,128:2:8 --shape 14336x4096 --tokens 512,4096 "
    "--dtype f16,bf16 --layout feature,token\n"
    "  coppice bench --device cuda --grid nmsparse --csv grid.csv --resume\n"
    "\n"
    "Shapes are ROWSxCOLS = OUTPUTSxINPUTS. A shapes file has the columns "
    "set,name,tokens,cols,rows; "
    "--tokens replaces its tokens.\n"
    "Both sides use the same number of threads and find their weights in memory, not in a cache; "
    "every product is checked before it is timed. On a GPU the dense library is the fastest of "
    "cuBLAS and cuBLASLt in the same type, and cuSPARSELt for 2:4, where they are installed. "
    "--grid nmsparse is every kind of pattern that nmSPARSE has (EW, VW4, VW32, VW64, BW4x4, "
    "BW64x64) at 50, 75 and 90 % on its shapes M1 to M32, or on those of --shapes, in f16 and f32, "
    "with cuSPARSE beside them.";

constexpr const char* kLegend =
    "time: the sparse product; dense: the same product by the dense library in fp32 ({}); speedup: "
    "dense/time, below 1.00x the dense product is faster;\nGFLOP/s: as if the weight were dense; "
    "memory: bytes of the stored weight per second, in percent of this machine's {}/s streaming "
    "reads with {} threads.\n";

// What the options are by default on a device.
struct Defaults {
  const char *patterns, *dtype, *layout;
  std::vector<std::int64_t> tokens;
};
const Defaults kCpuDefaults = {"2:4,2:8,vw32/8:32,64:2:8", "f32", "token", {1, 256}};
const Defaults kGpuDefaults = {"2:4,64:2:8,128:2:8,128:2:16", "f16", "feature", {512, 4096}};

constexpr std::array<std::pair<const char*, Dtype>, 3> kDtypes = {
    {{"f32", Dtype::f32}, {"bf16", Dtype::bf16}, {"f16", Dtype::f16}}};
constexpr std::array<std::pair<const char*, Layout>, 2> kLayouts = {
    {{"token", Layout::token_major}, {"feature", Layout::feature_major}}};

// The values that a list such as "f16,bf16" names.
template <typename Value, std::size_t n>
std::vector<Value> parse_names(const std::vector<std::string>& texts, const char* option,
                               const std::array<std::pair<const char*, Value>, n>& names) {
  std::vector<Value> values;
  for (const std::string& text : split_list(texts)) {
    const auto* found =
        std::ranges::find_if(names, [&](const auto& name) { return text == name.first; });
    if (found == names.end()) {
      std::vector<std::string_view> known;
      for (const auto& name : names) known.emplace_back(name.first);
      throw UsageError(
          fmt::format("{} '{}': needs one of {}", option, text, fmt::join(known, ", ")));
    }
    values.push_back(found->second);
  }
  return values;
}

class BenchCommand final : public Command {
 public:
  std::string name() const override { return "bench"; }
  std::string summary() const override {
    return "Time sparse products against dense libraries, on the CPU or a GPU";
  }
  std::string details() const override { return kDetails; }
  void declare(CLI::App& app) override;
  bool times_dense() const override { return !request_.no_baseline && asked_device() != "cuda"; }
  int run() override;

 private:
  void declare_gpu(CLI::App& app);
  std::vector<bench::BenchCase> cases(const Defaults& defaults) const;
  std::vector<bench::BenchCase> grid_cases() const;
  void check_gpu_options() const;
  std::vector<bench::Shape> shapes(const Defaults& defaults) const;
  int run_on_cpu();

  std::vector<std::string> patterns_, shape_names_, dtypes_, layouts_;
  std::vector<std::int64_t> tokens_;
  std::string shapes_file_, grid_;
  GpuBenchRequest request_;
};

void BenchCommand::declare(CLI::App& app) {
  app.add_option("--pattern", patterns_, "Patterns, separated by commas")->type_name("P,...");
  auto* shape =
      app.add_option("--shape", shape_names_, "Shapes (default: 4096x4096)")->type_name("RxC,...");
  app.add_option("--shapes", shapes_file_, "Shapes from a CSV file")
      ->type_name("FILE")
      ->excludes(shape);
  app.add_option("--tokens", tokens_, "Numbers of tokens (default: 1,256; on a GPU 512,4096)")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->check(CLI::Range(1, 1 << 20))
      ->type_name("N,...");
  app.add_option("--dtype", dtypes_,
                 "Of the sparse weight: f32, bf16, f16 (default f32; on a GPU f16)")
      ->type_name("DTYPE,...");
  app.add_option("--layout", layouts_,
                 "Of the activations: token, feature (default token; on a GPU feature)")
      ->type_name("LAYOUT,...");
  app.add_flag("--no-baseline", request_.no_baseline, "Do not time the dense libraries");
  app.add_option("--csv", request_.csv, "Write the results to this CSV file as well")
      ->type_name("FILE");
  declare_gpu(app);
  add_threads(app);
  add_device(app, "Where products are timed", "cpu");
  add_json(app);
}

void BenchCommand::declare_gpu(CLI::App& app) {
  app.add_option(
         "--kernel", request_.kernel,
         "On a GPU: time every kernel whose name begins with one of these, or all, instead of "
         "the one that would be chosen")
      ->type_name("NAME,...");
  app.add_option("--token-group", request_.token_group,
                 "On a GPU: force how many token tiles are worked on together")
      ->check(CLI::Range(1, 1 << 20))
      ->type_name("N");
  app.add_flag("--quick", request_.quick,
               "On a GPU: fewer replays, and outputs are not checked: for many kernels");
  app.add_flag("--tune", request_.tune,
               "On a GPU: measure which kernel is fastest, keep that in the tuning cache, and time "
               "the product untuned and tuned");
  auto* grid = app.add_option("--grid", grid_, "On a GPU: a named grid of patterns and shapes")
                   ->check(CLI::IsMember({std::string(bench::kNmsparse)}))
                   ->type_name("NAME");
  for (const char* set_by_it : {"--pattern", "--shape", "--tokens", "--layout", "--kernel",
                                "--token-group", "--tune", "--quick", "--no-baseline"})
    grid->excludes(app.get_option(set_by_it));
  app.add_flag("--resume", request_.resume,
               "On a GPU: keep the lines that the --csv file has, and measure the others");
}

std::vector<bench::Shape> BenchCommand::shapes(const Defaults& defaults) const {
  std::vector<bench::Shape> shapes;
  if (!shapes_file_.empty()) {
    shapes = bench::read_shapes(shapes_file_);
  } else {
    for (const auto& name :
         split_list(shape_names_.empty() ? std::vector<std::string>{"4096x4096"} : shape_names_)) {
      auto shape = parse_shape(name);
      if (!shape)
        throw UsageError(fmt::format("--shape '{}': needs ROWSxCOLS, such as 4096x1024", name));
      shapes.push_back({"", name, 0, shape->second, shape->first});
    }
  }
  auto tokens = tokens_;
  if (tokens.empty() && shapes_file_.empty()) tokens = defaults.tokens;
  if (tokens.empty()) return shapes;
  std::vector<bench::Shape> all;
  for (auto shape : shapes)
    for (auto count : tokens) {
      shape.tokens = count;
      all.push_back(shape);
    }
  return all;
}

std::vector<bench::BenchCase> BenchCommand::cases(const Defaults& defaults) const {
  const auto or_default = [](std::vector<std::string> given, const char* instead) {
    return given.empty() ? std::vector<std::string>{instead} : given;
  };
  std::vector<Pattern> patterns;
  for (const auto& text : split_list(or_default(patterns_, defaults.patterns)))
    patterns.push_back(parse_pattern(text));
  const auto dtypes = parse_names(or_default(dtypes_, defaults.dtype), "--dtype", kDtypes);
  const auto layouts = parse_names(or_default(layouts_, defaults.layout), "--layout", kLayouts);
  std::vector<bench::BenchCase> all;
  // Shapes outside: the dense weights of a shape are made once.
  for (const auto& shape : shapes(defaults))
    for (Dtype dtype : dtypes)
      for (Layout layout : layouts)
        for (const auto& pattern : patterns)
          all.push_back({.pattern = pattern,
                         .rows = shape.rows,
                         .cols = shape.cols,
                         .tokens = shape.tokens,
                         .dtype = dtype,
                         .layout = layout,
                         .set = shape.set,
                         .name = shape.name});
  return all;
}

std::vector<bench::BenchCase> BenchCommand::grid_cases() const {
  const auto dtypes = parse_names(
      dtypes_.empty() ? std::vector<std::string>{"f16", "f32"} : dtypes_, "--dtype", kDtypes);
  const auto shapes = shapes_file_.empty() ? bench::built_in_shapes(bench::kNmsparse)
                                           : bench::read_shapes(shapes_file_);
  return bench::nmsparse_grid(shapes, dtypes);
}

void BenchCommand::check_gpu_options() const {
  if (!request_.resume) return;
  if (request_.csv.empty()) throw UsageError("--resume needs --csv");
  if (!request_.kernel.empty() || request_.tune)
    throw UsageError("--resume does not go with --kernel and --tune: their cases have many lines");
}

int BenchCommand::run() {
  // Usage mistakes come before what this machine lacks.
  const bool gpu_wanted = asked_device() != "cpu";
  request_.grid = !grid_.empty();
  if (gpu_wanted) check_gpu_options();
  request_.cases = request_.grid ? grid_cases() : cases(gpu_wanted ? kGpuDefaults : kCpuDefaults);
  if (device() == Device::cuda) {
    request_.json = json_;
    return run_gpu_bench(request_);
  }
  if (!request_.kernel.empty() || request_.token_group != 0 || request_.tune || request_.quick ||
      request_.grid || request_.resume)
    throw UsageError(
        "--kernel, --token-group, --tune, --quick, --grid and --resume need --device cuda");
  if (gpu_wanted) request_.cases = cases(kCpuDefaults);
  return run_on_cpu();
}

int BenchCommand::run_on_cpu() {
  bench::Bench bench({.threads = threads(), .with_baseline = !request_.no_baseline});
  if (!json_) print(bench::table_header() + "\n");
  Progress progress("timing");
  std::vector<bench::BenchResult> results;
  std::vector<std::string> csv = {bench::csv_header()};
  bool correct = true;
  for (const auto& one : request_.cases) {
    throw_if_cancelled();
    progress.update(std::ssize(results), std::ssize(request_.cases), one.pattern.to_string());
    results.push_back(bench.run(one));
    csv.push_back(bench::csv_row(results.back()));
    if (!request_.csv.empty()) write_lines(request_.csv, csv);  // all that there is, if this stops
    correct = correct && results.back().correct;
    progress.clear();
    if (!json_) print(bench::table_row(results.back()) + "\n");
    if (!json_) flush_output();
  }
  if (json_)
    print_json({{"version", COPPICE_VERSION},
                {"threads", threads()},
                {"baseline", bench.baseline_description()},
                {"streaming_bandwidth", bench.streaming_bandwidth()},
                {"results", Json::parse(bench::to_json(results))}});
  else
    print(fmt::format(kLegend, bench.baseline_description(),
                      human_bytes(bench.streaming_bandwidth()), threads()));
  if (!correct) report_error("a product was wrong: see the rows marked FAILED");
  return correct ? 0 : 1;
}

}  // namespace

std::unique_ptr<Command> make_bench() { return std::make_unique<BenchCommand>(); }

}  // namespace coppice::cli
