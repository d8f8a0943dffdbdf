// The least time of products of few tokens: their bytes over what a GPU streams. Prints the table
// of docs/performance/decode.md. Needs no GPU.
//
//   build/cpu/bench/decode_floors --tb-s 4.71
//   build/cpu/bench/decode_floors --tb-s 4.71 --dtype F32 --pattern dense,16:32,8:32,3:32
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>

#include "bench/decode.h"

namespace coppice::bench {
namespace {

struct Shape {
  std::int64_t rows, cols;
};
constexpr Shape kShapes[] = {{28672, 8192}, {14336, 4096}, {4096, 4096}, {1024, 1024}};

struct Request {
  double tb_s = 0;
  std::int64_t tokens = 1;
  std::string dtype = "F16";
  std::vector<std::string> patterns = {
      "dense", "2:4",       "4:8",        "64:2:5", "1:4",     "2:8",      "64:2:8", "4:16",
      "8:32",  "vw32/8:32", "bw4x4/8:32", "2:16",   "64:2:16", "128:2:16", "4:32",   "128:2:32"};
};

void print(const Request& request) {
  const auto dtype = parse_dtype(request.dtype);
  if (!dtype || !is_weight_dtype(*dtype))
    throw CLI::ValidationError("--dtype", "not the type of a weight");
  const auto case_of = [&](const std::string& pattern, const Shape& shape) {
    return BenchCase{.pattern = Pattern::parse(pattern),
                     .rows = shape.rows,
                     .cols = shape.cols,
                     .tokens = request.tokens,
                     .dtype = *dtype};
  };
  std::string head = "| pattern | bytes a weight | of dense |", rule = "|---|---|---|";
  for (const Shape& shape : kShapes) {
    head += fmt::format(" {} × {} |", shape.rows, shape.cols);
    rule += "---|";
  }
  fmt::print("{}\n{}\n", head, rule);
  for (const std::string& pattern : request.patterns) {
    const auto weight = static_cast<double>(traffic(case_of(pattern, kShapes[0])).weight);
    const double each = weight / static_cast<double>(kShapes[0].rows * kShapes[0].cols);
    fmt::print("| {} | {:.3f} | {:.2f}× |", pattern, each, dtype_bytes(*dtype) / each);
    for (const Shape& shape : kShapes)
      fmt::print(" {:.2f} |", static_cast<double>(traffic(case_of(pattern, shape)).total()) /
                                  request.tb_s / 1e6);
    fmt::print("\n");
  }
}

}  // namespace
}  // namespace coppice::bench

int main(int argc, char** argv) {
  coppice::bench::Request request;
  CLI::App app("Microseconds that products of few tokens need for their bytes alone");
  app.add_option("--tb-s", request.tb_s, "What the GPU streams, TB/s")
      ->required()
      ->check(CLI::PositiveNumber);
  app.add_option("--tokens", request.tokens)->check(CLI::Range(1, 1 << 20));
  app.add_option("--dtype", request.dtype, "F16, BF16, F32, F8_E4M3 or I8");
  app.add_option("--pattern", request.patterns)->delimiter(',');
  CLI11_PARSE(app, argc, argv);
  try {
    coppice::bench::print(request);
    return 0;
  } catch (const std::exception& error) {
    fmt::print(stderr, "decode_floors: {}\n", error.what());
    return 1;
  }
}
