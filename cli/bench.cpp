// coppice bench: shapes x patterns x tokens against the dense library.
#include "bench/bench.h"

#include <cstdio>
#include <fstream>

#include "bench/report.h"
#include "bench/shapes.h"
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
    "\n"
    "Shapes are ROWSxCOLS = OUTPUTSxINPUTS. A shapes file has the columns "
    "set,name,tokens,cols,rows; "
    "--tokens replaces its tokens.\n"
    "Both sides use the same number of threads and find their weights in memory, not in a cache; "
    "every product is checked before it is timed.";

constexpr const char* kLegend =
    "time: the sparse product; dense: the same product by the dense library in fp32 ({}); speedup: "
    "dense/time, below 1.00x the dense product is faster;\nGFLOP/s: as if the weight were dense; "
    "memory: bytes of the stored weight per second, in percent of this machine's {}/s streaming "
    "reads with {} threads.\n";

class BenchCommand final : public Command {
 public:
  std::string name() const override { return "bench"; }
  std::string summary() const override {
    return "Time sparse products against the dense library (OpenBLAS)";
  }
  std::string details() const override { return kDetails; }
  void declare(CLI::App& app) override;
  int run() override;

 private:
  std::vector<bench::BenchCase> cases() const;
  std::vector<bench::Shape> shapes() const;
  void write_csv(const std::vector<bench::BenchResult>& results) const;

  std::vector<std::string> patterns_ = {"2:4,2:8,vw32/8:32,64:2:8"};
  std::vector<std::string> shape_names_;
  std::vector<std::int64_t> tokens_;
  std::string shapes_file_, dtype_ = "f32", layout_ = "token", csv_;
  bool no_baseline_ = false;
};

void BenchCommand::declare(CLI::App& app) {
  app.add_option("--pattern", patterns_, "Patterns, separated by commas")
      ->type_name("P,...")
      ->capture_default_str();
  auto* shape =
      app.add_option("--shape", shape_names_, "Shapes (default: 4096x4096)")->type_name("RxC,...");
  app.add_option("--shapes", shapes_file_, "Shapes from a CSV file")
      ->type_name("FILE")
      ->excludes(shape);
  app.add_option("--tokens", tokens_, "Numbers of tokens (default: 1,256)")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->check(CLI::Range(1, 1 << 20))
      ->type_name("N,...");
  app.add_option("--dtype", dtype_, "Of the sparse weight: f32, bf16 or f16 (default f32)")
      ->check(CLI::IsMember({"f32", "bf16", "f16"}))
      ->type_name("DTYPE");
  app.add_option("--layout", layout_, "Of the activations: token-major or feature-major")
      ->check(CLI::IsMember({"token", "feature"}))
      ->type_name("LAYOUT")
      ->capture_default_str();
  app.add_flag("--no-baseline", no_baseline_, "Do not time the dense library");
  app.add_option("--csv", csv_, "Write the results to this CSV file as well")->type_name("FILE");
  add_threads(app);
  add_device(app);
  add_json(app);
}

std::vector<bench::Shape> BenchCommand::shapes() const {
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
  if (tokens.empty() && shapes_file_.empty()) tokens = {1, 256};
  if (tokens.empty()) return shapes;
  std::vector<bench::Shape> all;
  for (auto shape : shapes)
    for (auto count : tokens) {
      shape.tokens = count;
      all.push_back(shape);
    }
  return all;
}

std::vector<bench::BenchCase> BenchCommand::cases() const {
  std::vector<Pattern> patterns;
  for (const auto& text : split_list(patterns_)) patterns.push_back(parse_pattern(text));
  Dtype dtype = dtype_ == "f32" ? Dtype::f32 : dtype_ == "bf16" ? Dtype::bf16 : Dtype::f16;
  Layout layout = layout_ == "token" ? Layout::token_major : Layout::feature_major;
  std::vector<bench::BenchCase> all;
  // Patterns inside: the dense weights of a shape are made once.
  for (const auto& shape : shapes())
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

void BenchCommand::write_csv(const std::vector<bench::BenchResult>& results) const {
  std::string temporary = csv_ + ".tmp";
  std::ofstream out(temporary);
  out << bench::csv_header() << "\n";
  for (const auto& result : results) out << bench::csv_row(result) << "\n";
  out.close();
  if (!out || std::rename(temporary.c_str(), csv_.c_str()) != 0) {
    std::remove(temporary.c_str());
    throw FileError(fmt::format("cannot write '{}'", csv_));
  }
}

int BenchCommand::run() {
  auto todo = cases();
  require_device();
  bench::Bench bench({.threads = threads(), .with_baseline = !no_baseline_});
  if (!json_) print(bench::table_header() + "\n");
  Progress progress("timing");
  std::vector<bench::BenchResult> results;
  bool correct = true;
  for (const auto& one : todo) {
    throw_if_cancelled();
    progress.update(std::ssize(results), std::ssize(todo), one.pattern.to_string());
    results.push_back(bench.run(one));
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
  if (!csv_.empty()) write_csv(results);
  if (!correct) report_error("a product was wrong: see the rows marked FAILED");
  return correct ? 0 : 1;
}

}  // namespace

std::unique_ptr<Command> make_bench() { return std::make_unique<BenchCommand>(); }

}  // namespace coppice::cli
