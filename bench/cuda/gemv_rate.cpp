// What the GPU streams, and what the dense product of our own (gemv.h) reaches of that.
//
//   build/bench/cuda/cuda_gemv_rate
//
// Protocol of docs/performance/model.md. read: the same number of bytes, read by a kernel that does
// nothing else.
#include <fmt/format.h>

#include <cstdio>
#include <exception>

#include "bench/cuda/gemv.h"
#include "bench/cuda/protocol.h"
#include "bench/cuda/stream_read.h"

namespace coppice::bench {
namespace {

struct Shape {
  std::int64_t rows, cols;
};
constexpr Shape kShapes[] = {{1024, 1024}, {4096, 4096}, {14336, 4096}, {28672, 8192}};

double seconds_of(const DeviceCall& call, cudaStream_t stream) {
  ReplayedCall replayed(call, stream, kReplaySeconds);
  std::vector<double> seconds;
  for (int i = 0; i < kReplays; ++i) seconds.push_back(replayed.replay());
  return median(seconds);
}

void run() {
  cudaStream_t stream = nullptr;
  check_cuda(cudaStreamCreate(&stream), "cudaStreamCreate");
  StreamCeiling ceiling(stream);
  fmt::print("ceiling {:.3f} TB/s\n", 1e-12 * ceiling.bandwidth());
  fmt::print("{:>5} {:>6} {:>6} {:>6} {:>9} {:>7} {:>8} {:>8} {:>9}\n", "dtype", "rows", "cols",
             "tokens", "us", "TB/s", "ceiling", "read us", "error");
  for (const auto& [rows, cols] : kShapes)
    for (const Dtype dtype : {Dtype::f16, Dtype::bf16, Dtype::f32}) {
      const DenseWeights weights(rows, cols, dtype);
      for (std::int64_t tokens = 1; tokens <= kGemvTokens; ++tokens) {
        if (dtype == Dtype::bf16 && tokens > 1) break;  // as f16
        const DenseProblem problem{rows, cols, tokens, dtype};
        const GemvProduct product(problem, weights);
        const double error = product.error(stream);
        const double seconds = seconds_of(product.call(), stream);
        const auto bytes = static_cast<double>(problem.bytes());
        fmt::print("{:>5} {:>6} {:>6} {:>6} {:>9.2f} {:>7.3f} {:>7.1f}% {:>8.2f} {:>9.1e}\n",
                   dtype_name(dtype), rows, cols, tokens, 1e6 * seconds, 1e-12 * bytes / seconds,
                   100 * bytes / seconds / ceiling.bandwidth(),
                   1e6 * bytes / ceiling.bandwidth_of(problem.bytes()), error);
      }
    }
}

}  // namespace
}  // namespace coppice::bench

int main() {
  try {
    coppice::bench::run();
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "cuda_gemv_rate: %s\n", error.what());
    return 1;
  }
}
