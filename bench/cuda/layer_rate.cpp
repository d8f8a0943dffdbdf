// Measures what a layer costs beside its bare product: token-major activations in and out, the
// steps of an epilogue, and the gated pair of products, each beside the feature-major product.
//
//   cuda_layer_rate [PATTERN...] [--tokens N]      (default: 64:2:8 128:2:8 2:4 at 4096 tokens)
//
// cols 4096, rows 14336, bf16. Weights and activations of another copy in every call; the median of
// nine replays of one CUDA graph counts, and the two that are compared take turns.
#include <cuda_runtime.h>
#include <fmt/format.h>

#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "coppice/cuda.h"
#include "coppice/cuda_compress.h"
#include "coppice/error.h"
#include "cuda/graph_time.h"

namespace coppice::cuda {
namespace {

constexpr std::int64_t kCols = 4096, kRows = 14336;
constexpr int kCopies = 4;

PackedWeight random_packed(const char* pattern, std::int64_t rows) {
  const auto grid =
      std::make_shared<const Grid>(Pattern::parse(pattern), WeightShape{rows, kCols, {}, {}});
  const DeviceBuffer dense = random_weights(rows * kCols, 1, Dtype::bf16);
  const MagnitudeCompressor compressor(grid, Dtype::bf16);
  const DeviceBuffer workspace(static_cast<std::size_t>(compressor.workspace_bytes())),
      values(static_cast<std::size_t>(grid->values_bytes(Dtype::bf16))),
      columns(static_cast<std::size_t>(grid->columns_bytes())),
      metadata(static_cast<std::size_t>(grid->metadata_bytes()));
  compressor.compress(dense.data(), 0, {values.data(), columns.data(), metadata.data()},
                      workspace.data());
  PackedWeight packed({grid, Dtype::bf16, values.data(), columns.data(), metadata.data(), nullptr});
  check(cudaDeviceSynchronize(), "packing");
  return packed;
}

class Layer {
 public:
  Layer(const char* pattern, std::int64_t tokens)
      : pattern_(pattern),
        tokens_(tokens),
        x_(random_weights(tokens * kCols, kCopies, Dtype::bf16)),
        y_(static_cast<std::size_t>(2 * tokens * kRows * 2)),
        residual_(random_weights(tokens * kRows, 1, Dtype::bf16)) {
    for (int i = 0; i < kCopies; ++i) weights_.push_back(random_packed(pattern, kRows));
    stacked_.push_back(random_packed(pattern, 2 * kRows));
    workspace_ = DeviceBuffer(
        static_cast<std::size_t>(workspace_bytes(weights_[0], x(0, Layout::token_major))));
  }

  void measure() {
    const Epilogue plain, silu{.activation = Activation::silu},
        residual{.residual = residual_.data()}, factor{.factor = residual_.data()};
    constexpr Layout kFeature = Layout::feature_major, kToken = Layout::token_major;
    fmt::print("{} {} x {} tokens {}: copy of x {:.1f} us\n", pattern_, kCols, kRows, tokens_,
               timed([&](int i, cudaStream_t stream) {
                 check(cudaMemcpyAsync(y_.data(), x(i, kToken).data,
                                       static_cast<std::size_t>(tokens_ * kCols * 2),
                                       cudaMemcpyDeviceToDevice, stream),
                       "copying");
               }));
    const auto beside = [&](const char* what, Layout in, Layout out, const Epilogue& epilogue) {
      compare(
          what, "product", [&](int i, cudaStream_t stream) { one(i, in, out, epilogue, stream); },
          [&](int i, cudaStream_t stream) { one(i, kFeature, kFeature, plain, stream); });
    };
    beside("token-major in", kToken, kFeature, plain);
    beside("token-major out", kFeature, kToken, plain);
    beside("token-major in and out", kToken, kToken, plain);
    beside("silu", kFeature, kFeature, silu);
    beside("residual", kFeature, kFeature, residual);
    beside("factor", kFeature, kFeature, factor);
    for (const Layout layout : {kFeature, kToken}) {
      const auto gated = [&](int i, cudaStream_t stream) {
        multiply_gated(weight(i), weight(i + 1), x(i, layout), y(layout, kRows), silu, {},
                       workspace(), stream);
      };
      compare(layout == kToken ? "gated, token-major" : "gated, feature-major",
              "one product of twice the rows", gated, [&](int i, cudaStream_t stream) {
                multiply(stacked_[0], x(i, layout), y(layout, 2 * kRows), {}, workspace(), stream);
              });
    }
  }

 private:
  using Calls = std::function<void(int, cudaStream_t)>;

  /// The clocks follow the power drawn, so the two take turns.
  static void compare(const char* what, const char* base, const Calls& candidate,
                      const Calls& baseline) {
    constexpr int kTurns = 3;
    double us = 0, base_us = 0;
    for (int turn = 0; turn < kTurns; ++turn) {
      base_us += timed(baseline) / kTurns;
      us += timed(candidate) / kTurns;
    }
    fmt::print("  {:<24} {:>8.1f} us, {} {:>7.1f} us: {:+6.1f} us, {:.3f}\n", what, us, base,
               base_us, us - base_us, us / base_us);
    std::fflush(stdout);
  }
  const PackedWeight& weight(int i) const {
    return weights_[static_cast<std::size_t>(i % kCopies)];
  }
  Matrix x(int i, Layout layout) const {
    return {x_.as<std::byte>() + i % kCopies * tokens_ * kCols * 2,
            Dtype::bf16,
            tokens_,
            kCols,
            layout,
            0};
  }
  MutableMatrix y(Layout layout, std::int64_t rows) const {
    return {y_.data(), Dtype::bf16, tokens_, rows, layout, 0};
  }
  Workspace workspace() const {
    return {workspace_.data(), static_cast<std::int64_t>(workspace_.bytes())};
  }
  void one(int i, Layout in, Layout out, const Epilogue& epilogue, cudaStream_t stream) const {
    multiply(weight(i), x(i, in), y(out, kRows), epilogue, workspace(), stream);
  }
  static double timed(const Calls& enqueue) { return microseconds(kLeastCalls, enqueue); }
  const char* pattern_;
  std::int64_t tokens_;
  DeviceBuffer x_, y_, residual_, workspace_;
  std::vector<PackedWeight> weights_, stacked_;
};

}  // namespace
}  // namespace coppice::cuda

int main(int argc, char** argv) {
  try {
    std::vector<const char*> patterns;
    std::int64_t tokens = 4096;
    for (int i = 1; i < argc; ++i) {
      if (std::string_view(argv[i]) == "--tokens" && i + 1 < argc)
        tokens = std::atoll(argv[++i]);
      else
        patterns.push_back(argv[i]);
    }
    if (patterns.empty()) patterns = {"64:2:8", "128:2:8", "2:4"};
    for (const char* pattern : patterns) coppice::cuda::Layer(pattern, tokens).measure();
  } catch (const coppice::Error& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 1;
  }
}
