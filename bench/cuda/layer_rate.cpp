// Measures what a layer costs beside its bare product: token-major activations in and out, the
// steps of an epilogue, and the gated pair of products, each beside the feature-major product.
//
//   cuda_layer_rate [PATTERN...] [--tokens N] [--rows N] [--cols N]
//
// (default: 64:2:8 128:2:8 2:4 at 4096 tokens, rows 14336, cols 4096), bf16. Weights and
// activations of another copy in every call; the median of nine replays of one CUDA graph counts,
// and the two that are compared take turns.
#include <cuda_runtime.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <iterator>
#include <string_view>
#include <utility>

#include "coppice/cuda.h"
#include "coppice/cuda_compress.h"
#include "coppice/error.h"
#include "cuda/graph_time.h"

namespace coppice::cuda {
namespace {

struct Sizes {
  std::int64_t tokens = 4096, rows = 14336, cols = 4096;
};
constexpr int kCopies = 4;

PackedWeight random_packed(const char* pattern, std::int64_t rows, std::int64_t cols) {
  const auto grid =
      std::make_shared<const Grid>(Pattern::parse(pattern), WeightShape{rows, cols, {}, {}});
  const DeviceBuffer dense = random_weights(rows * cols, 1, Dtype::bf16);
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
  Layer(const char* pattern, const Sizes& sizes)
      : pattern_(pattern),
        tokens_(sizes.tokens),
        rows_(sizes.rows),
        cols_(sizes.cols),
        x_(random_weights(tokens_ * cols_, kCopies, Dtype::bf16)),
        y_(static_cast<std::size_t>(2 * tokens_ * rows_ * 2)),
        residual_(random_weights(tokens_ * rows_, 1, Dtype::bf16)) {
    for (int i = 0; i < kCopies; ++i) weights_.push_back(random_packed(pattern, rows_, cols_));
    stacked_.push_back(random_packed(pattern, 2 * rows_, cols_));
    const Matrix in = x(0, Layout::token_major);
    workspace_ = DeviceBuffer(static_cast<std::size_t>(
        std::max(workspace_bytes(weights_[0], in), workspace_bytes(stacked_[0], in))));
  }

  void measure() {
    const Epilogue plain, silu{.activation = Activation::silu},
        gelu{.activation = Activation::gelu}, residual{.residual = residual_.data()},
        factor{.factor = residual_.data()};
    constexpr Layout kFeature = Layout::feature_major, kToken = Layout::token_major;
    fmt::print("{} {} x {} tokens {}: copy of x {:.1f} us\n", pattern_, cols_, rows_, tokens_,
               timed([&](int i, cudaStream_t stream) {
                 check(cudaMemcpyAsync(y_.data(), x(i, kToken).data,
                                       static_cast<std::size_t>(tokens_ * cols_ * 2),
                                       cudaMemcpyDeviceToDevice, stream),
                       "copying");
               }));
    const auto beside = [&](const char* what, Layout in, Layout out, const Epilogue& epilogue,
                            Layout base = Layout::feature_major) {
      compare(
          what, "product", [&](int i, cudaStream_t stream) { one(i, in, out, epilogue, stream); },
          [&](int i, cudaStream_t stream) { one(i, base, base, plain, stream); });
    };
    beside("token-major in", kToken, kFeature, plain);
    beside("token-major out", kFeature, kToken, plain);
    beside("token-major in and out", kToken, kToken, plain);
    beside("silu", kFeature, kFeature, silu);
    beside("gelu", kFeature, kFeature, gelu);
    beside("token-major in, gelu", kToken, kFeature, gelu);
    beside("gelu, token-major", kToken, kToken, gelu, kToken);
    beside("residual", kFeature, kFeature, residual);
    beside("factor", kFeature, kFeature, factor);
    beside("residual, token-major", kToken, kToken, residual, kToken);
    for (const Layout layout : {kFeature, kToken}) {
      const auto gated = [&](int i, cudaStream_t stream) {
        multiply_gated(weight(i), weight(i + 1), x(i, layout), y(layout, rows_), silu, {},
                       workspace(), stream);
      };
      compare(layout == kToken ? "gated, token-major" : "gated, feature-major",
              "one product of twice the rows", gated, [&](int i, cudaStream_t stream) {
                multiply(stacked_[0], x(i, layout), y(layout, 2 * rows_), {}, workspace(), stream);
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
    return {x_.as<std::byte>() + i % kCopies * tokens_ * cols_ * 2,
            Dtype::bf16,
            tokens_,
            cols_,
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
    multiply(weight(i), x(i, in), y(out, rows_), epilogue, workspace(), stream);
  }
  static double timed(const Calls& enqueue) { return microseconds(kLeastCalls, enqueue); }
  const char* pattern_;
  std::int64_t tokens_, rows_, cols_;
  DeviceBuffer x_, y_, residual_, workspace_;
  std::vector<PackedWeight> weights_, stacked_;
};

}  // namespace
}  // namespace coppice::cuda

int main(int argc, char** argv) {
  try {
    std::vector<const char*> patterns;
    coppice::cuda::Sizes sizes;
    const std::pair<std::string_view, std::int64_t*> options[] = {
        {"--tokens", &sizes.tokens}, {"--rows", &sizes.rows}, {"--cols", &sizes.cols}};
    for (int i = 1; i < argc; ++i) {
      const auto* option = std::find_if(std::begin(options), std::end(options),
                                        [&](const auto& o) { return o.first == argv[i]; });
      if (option != std::end(options) && i + 1 < argc)
        *option->second = std::atoll(argv[++i]);
      else
        patterns.push_back(argv[i]);
    }
    if (patterns.empty()) patterns = {"64:2:8", "128:2:8", "2:4"};
    for (const char* pattern : patterns) coppice::cuda::Layer(pattern, sizes).measure();
  } catch (const coppice::Error& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 1;
  }
}
