// Measures what moves through device memory once: GPU compression (dense weights to the canonical
// form, for several patterns and dtypes), packing (canonical to what the kernels read) and the
// transposition of activations, each beside a copy of the same bytes.
//
//   cuda_compress_rate [rows cols]        (default: 4096 14336)
//
// Every call works on another copy of its input (normally distributed, 256 MB in all, so that none
// of it is in the L2 cache); calls are enqueued back to back as one CUDA graph; the median of nine
// replays counts.
#include <cuda_runtime.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <random>
#include <vector>

#include "coppice/cuda.h"
#include "coppice/cuda_compress.h"
#include "coppice/error.h"
#include "cuda/graph_time.h"

namespace coppice::cuda {
namespace {

struct Case {
  const char* pattern;
  Dtype dtype;
};
constexpr Case kCases[] = {
    {"2:4", Dtype::f16},         {"2:4", Dtype::bf16},         {"2:4", Dtype::f32},
    {"16:2:8", Dtype::bf16},     {"64:2:8", Dtype::f16},       {"64:2:8", Dtype::bf16},
    {"64:2:8", Dtype::f32},      {"128:2:8", Dtype::bf16},     {"64:2:5", Dtype::bf16},
    {"64:2:16", Dtype::bf16},    {"128:2:16", Dtype::bf16},    {"128:2:32", Dtype::bf16},
    {"128:2:100", Dtype::bf16},  {"2:8", Dtype::bf16},         {"4:8", Dtype::bf16},
    {"8:32", Dtype::bf16},       {"64:256", Dtype::bf16},      {"vw32/8:32", Dtype::bf16},
    {"bw4x4/8:32", Dtype::bf16}, {"bw64x64/2:4", Dtype::bf16},
};

double copy_microseconds(int calls, const DeviceBuffer& to, std::int64_t bytes,
                         const std::function<const std::byte*(int)>& from) {
  return microseconds(calls, [&](int call, cudaStream_t stream) {
    check(cudaMemcpyAsync(to.data(), from(call), static_cast<std::size_t>(bytes),
                          cudaMemcpyDeviceToDevice, stream),
          "copying");
  });
}

/// To feature-major, as a product of a gathered pattern needs it, or to token-major.
void measure_transpose(Dtype dtype, Layout to_layout, std::int64_t tokens, std::int64_t features) {
  const std::int64_t bytes = tokens * features * dtype_bytes(dtype);
  const std::int64_t copies = std::max<std::int64_t>(kRotation / bytes, 1);
  const int calls = static_cast<int>(std::max<std::int64_t>(copies, kLeastCalls));
  const DeviceBuffer from = random_weights(tokens * features, copies, dtype);
  const DeviceBuffer to(static_cast<std::size_t>(bytes));
  const auto input = [&](int call) { return from.as<std::byte>() + call % copies * bytes; };
  const Layout from_layout =
      to_layout == Layout::token_major ? Layout::feature_major : Layout::token_major;
  const double us = microseconds(calls, [&](int call, cudaStream_t stream) {
    transpose({input(call), dtype, tokens, features, from_layout, 0},
              {to.data(), dtype, tokens, features, to_layout, 0}, stream);
  });
  const double copy_us = copy_microseconds(calls, to, bytes, input);
  fmt::print(
      "transpose {} to {:<7} {:>6} x {:<6} {:>7.1f} us {:>6.3f} TB/s read and written, copy "
      "{:>6.1f} "
      "us, {:.0f} %\n",
      dtype_name(dtype), to_layout == Layout::token_major ? "token" : "feature", tokens, features,
      us, 2 * static_cast<double>(bytes) / us * 1e-6, copy_us, 100 * copy_us / us);
}

constexpr const char* kPacked[] = {"2:4",     "16:2:8",   "64:2:5",   "64:2:8",
                                   "128:2:8", "128:2:16", "128:2:32", "128:2:100"};

/// Canonical arrays of one weight behind each other, each on 256 bytes, `copies` times.
void measure_packing(const char* pattern, std::int64_t rows, std::int64_t cols) {
  const auto grid =
      std::make_shared<const Grid>(Pattern::parse(pattern), WeightShape{rows, cols, {}, {}});
  const auto round_up = [](std::int64_t bytes) { return (bytes + 255) / 256 * 256; };
  const std::int64_t columns_at = round_up(grid->values_bytes(Dtype::bf16)),
                     metadata_at = columns_at + round_up(grid->columns_bytes()),
                     bytes = metadata_at + round_up(grid->metadata_bytes());
  const std::int64_t copies = std::max<std::int64_t>(kRotation / bytes, 1);
  const int calls = static_cast<int>(std::max<std::int64_t>(copies, kLeastCalls));
  const DeviceBuffer arrays(static_cast<std::size_t>(copies * bytes)),
      copy(static_cast<std::size_t>(bytes));
  const auto input = [&](int call) { return arrays.as<std::byte>() + call % copies * bytes; };
  {
    const DeviceBuffer dense = random_weights(rows * cols, 1, Dtype::bf16);
    const MagnitudeCompressor compressor(grid, Dtype::bf16);
    const DeviceBuffer workspace(static_cast<std::size_t>(compressor.workspace_bytes()));
    for (int i = 0; i < copies; ++i)
      compressor.compress(dense.data(), 0,
                          {input(i), input(i) + columns_at, input(i) + metadata_at},
                          workspace.data());
    check(cudaDeviceSynchronize(), "compressing");
  }
  const auto view = [&](int call) {
    return SparseDeviceView{
        grid,   Dtype::bf16, input(call), input(call) + columns_at, input(call) + metadata_at,
        nullptr};
  };
  PackedWeight packed(view(0));
  const double us = microseconds(
      calls, [&](int call, cudaStream_t stream) { packed.repack(view(call), stream); });
  const double copy_us = copy_microseconds(calls, copy, bytes, input);
  fmt::print(
      "pack {:<12} {:>6} x {:<6} {:>8.1f} us {:>6.3f} TB/s read and written, copy {:>6.1f} us, "
      "{:.4f} of the own bytes\n",
      pattern, rows, cols, us, static_cast<double>(bytes + packed.bytes()) / us * 1e-6, copy_us,
      static_cast<double>(packed.bytes()) / static_cast<double>(grid->own_bytes(Dtype::bf16)));
  std::fflush(stdout);
}

void measure(const Case& c, std::int64_t rows, std::int64_t cols) {
  const std::int64_t weight_bytes = rows * cols * dtype_bytes(c.dtype);
  const std::int64_t copies = std::max<std::int64_t>(kRotation / weight_bytes, 1);
  const int calls = static_cast<int>(std::max<std::int64_t>(copies, kLeastCalls));
  const DeviceBuffer dense = random_weights(rows * cols, copies, c.dtype);
  const auto grid =
      std::make_shared<const Grid>(Pattern::parse(c.pattern), WeightShape{rows, cols, {}, {}});
  const MagnitudeCompressor compressor(grid, c.dtype);
  const DeviceBuffer values(static_cast<std::size_t>(grid->values_bytes(c.dtype))),
      columns(static_cast<std::size_t>(grid->columns_bytes())),
      metadata(static_cast<std::size_t>(grid->metadata_bytes())),
      workspace(static_cast<std::size_t>(compressor.workspace_bytes())),
      copy(static_cast<std::size_t>(weight_bytes));
  const auto weight = [&](int call) {
    return dense.as<std::byte>() + call % copies * weight_bytes;
  };
  const double us = microseconds(calls, [&](int call, cudaStream_t stream) {
    compressor.compress(weight(call), 0, {values.data(), columns.data(), metadata.data()},
                        workspace.data(), stream);
  });
  const double copy_us = copy_microseconds(calls, copy, weight_bytes, weight);
  fmt::print(
      "{:<12} {:<5} {:>6} x {:<6} {:>9.1f} us {:>6.3f} TB/s of dense input, copy {:>7.1f} us, "
      "workspace {:.2f} of the weight\n",
      c.pattern, dtype_name(c.dtype), rows, cols, us, static_cast<double>(weight_bytes) / us * 1e-6,
      copy_us,
      static_cast<double>(compressor.workspace_bytes()) / static_cast<double>(weight_bytes));
  std::fflush(stdout);
}

}  // namespace
}  // namespace coppice::cuda

int main(int argc, char** argv) {
  try {
    const std::int64_t rows = argc > 2 ? std::atoll(argv[1]) : 4096;
    const std::int64_t cols = argc > 2 ? std::atoll(argv[2]) : 14336;
    for (const auto dtype : {coppice::Dtype::f16, coppice::Dtype::f32})
      for (const auto layout : {coppice::Layout::feature_major, coppice::Layout::token_major})
        for (const std::int64_t features : {4096, 8192, 14336})
          coppice::cuda::measure_transpose(dtype, layout, 4096, features);
    for (const char* pattern : coppice::cuda::kPacked)
      coppice::cuda::measure_packing(pattern, rows, cols);
    for (const auto& c : coppice::cuda::kCases) coppice::cuda::measure(c, rows, cols);
  } catch (const coppice::Error& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 1;
  }
}
