// What decode kernels promise beside right results: the same bits for any number of tokens, and
// safety of kernels that overlap (programmatic dependent launch).
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "coppice/error.h"
#include "cuda/decode_select.h"
#include "cuda/gpu.h"
#include "cuda/multiply.h"
#include "cuda/weight.h"

namespace coppice::cuda {
namespace {

using cpu::Random;

std::vector<std::byte> random_halves(Random& random, std::int64_t count) {
  std::vector<std::byte> bytes(static_cast<std::size_t>(count * 2));
  from_float(Dtype::f16, cpu::random_floats(random, count), bytes.data());
  return bytes;
}

// Captures `work`, and replays it `times` times.
template <typename Work>
void replay(const Work& work, int times) {
  const OwnStream stream;
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t executable = nullptr;
  expect_ok(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
  work(stream);
  expect_ok(cudaStreamEndCapture(stream, &graph));
  expect_ok(cudaGraphInstantiate(&executable, graph, 0));
  for (int i = 0; i < times; ++i) expect_ok(cudaGraphLaunch(executable, stream));
  expect_ok(cudaStreamSynchronize(stream));
  cudaGraphExecDestroy(executable);
  cudaGraphDestroy(graph);
}

TEST(CudaDecode, ATokensBitsDoNotDependOnTheTokensBesideIt) {
  COPPICE_NEEDS_GPU();
  constexpr std::int64_t kRows = 320, kCols = 1536;
  Random random(1);
  const GpuBytes x(random_halves(random, 64 * kCols)), y(64 * kRows * 2);
  for (const char* pattern : {"2:4", "64:2:8", "16:2:8", "128:2:32"}) {
    const SparseMatrix sparse =
        cpu::random_weight(random, Pattern::parse(pattern), kRows, kCols, Dtype::f16);
    const PackedWeight weight(sparse.view());
    std::vector<std::byte> want;
    for (std::int64_t tokens = 64; tokens >= 1; --tokens) {
      const Matrix in{x.data(), Dtype::f16, tokens, kCols, Layout::token_major, 0};
      const MutableMatrix out{y.data(), Dtype::f16, tokens, kRows, Layout::token_major, 0};
      const ProductInfo product = product_info(weight, in);
      const DeviceInfo& device = weight.impl().device_info;
      for (const DecodeShape& shape : decode_shapes(product, device)) {
        expect_ok(cudaMemset(y.data(), 0xFF, 64 * kRows * 2));
        Selection selection = select_of(Family::decode, product, device);
        selection.decode = shape;
        multiply_by(selection, weight, in, out, {}, {}, nullptr);
        expect_ok(cudaDeviceSynchronize());
        std::vector<std::byte> got = y.read();
        got.resize(static_cast<std::size_t>(tokens * kRows * 2));
        if (want.empty()) want = got;
        ASSERT_TRUE(std::equal(got.begin(), got.end(), want.begin()))
            << pattern << " with " << tokens << " tokens, " << selection_name(selection);
      }
    }
  }
}

// Each product reads what the one before it wrote; kernels that do not take part in the overlapping
// stand between them now and then.
TEST(CudaDecode, ProductsFollowEachOtherInAGraph) {
  COPPICE_NEEDS_GPU();
  constexpr std::int64_t kSize = 2048, kLength = 24;
  Random random(2);
  std::vector<PackedWeight> weights;
  for (const char* pattern : {"2:4", "64:2:8", "32:2:8"})
    weights.emplace_back(
        cpu::random_weight(random, Pattern::parse(pattern), kSize, kSize, Dtype::f16).view());
  for (const std::int64_t tokens : {1, 16, 64}) {
    const GpuBytes start(random_halves(random, tokens * kSize));
    const std::size_t bytes = static_cast<std::size_t>(tokens * kSize * 2);
    std::vector<GpuBytes> buffers;
    for (int i = 0; i <= kLength; ++i) buffers.emplace_back(bytes);
    const auto run = [&](cudaStream_t stream, bool wait) {
      expect_ok(cudaMemcpyAsync(buffers[0].data(), start.data(), bytes, cudaMemcpyDeviceToDevice,
                                stream));
      for (std::size_t i = 0; i < kLength; ++i) {
        const PackedWeight& weight = weights[i % weights.size()];
        const Matrix in{buffers[i].data(), Dtype::f16, tokens, kSize, Layout::token_major, 0};
        const MutableMatrix out{buffers[i + 1].data(), Dtype::f16, tokens, kSize,
                                Layout::token_major,   0};
        // Outputs stay of the size of the inputs.
        const Epilogue epilogue{.alpha = 0.03f, .residual = i % 2 == 0 ? in.data : nullptr};
        const ProductInfo product = product_info(weight, in);
        if (i % 5 == 4) {
          expect_ok(cudaMemsetAsync(out.data, 0xFF, bytes, stream));
          MutableMatrix turned = out;
          turned.layout = Layout::feature_major;
          transpose(in, turned, stream);  // its output is overwritten
        }
        multiply_by(select_of(Family::decode, product, weight.impl().device_info), weight, in, out,
                    epilogue, {}, stream);
        if (wait) expect_ok(cudaStreamSynchronize(stream));
      }
    };
    const OwnStream stream;
    run(stream, true);
    const std::vector<std::byte> want = buffers[kLength].read();
    for (const GpuBytes& b : buffers) expect_ok(cudaMemset(b.data(), 0xFF, bytes));
    expect_ok(cudaDeviceSynchronize());
    replay([&](cudaStream_t s) { run(s, false); }, 5);
    EXPECT_EQ(buffers[kLength].read(), want) << tokens << " tokens";
    run(stream, false);
    expect_ok(cudaStreamSynchronize(stream));
    EXPECT_EQ(buffers[kLength].read(), want) << tokens << " tokens, without a graph";
  }
}

// The next product asks for weights before the kernels before it have ended: those that write the
// weights must have.
TEST(CudaDecode, WeightsCanBePackedAgainBetweenProducts) {
  COPPICE_NEEDS_GPU();
  constexpr std::int64_t kRows = 1024, kCols = 4096;
  constexpr int kRounds = 20;
  Random random(3);
  const GpuBytes x(random_halves(random, kCols));
  const Matrix in{x.data(), Dtype::f16, 1, kCols, Layout::token_major, 0};
  for (const char* pattern : {"2:4", "64:2:8"}) {
    std::vector<GpuBytes> arrays;
    std::vector<SparseDeviceView> views;
    std::vector<std::vector<std::byte>> want;
    GpuBytes y(kRows * 2);
    const auto output = [&](const GpuBytes& to) {
      return MutableMatrix{to.data(), Dtype::f16, 1, kRows, Layout::token_major, 0};
    };
    for (int i = 0; i < 2; ++i) {
      const SparseMatrix w =
          cpu::random_weight(random, Pattern::parse(pattern), kRows, kCols, Dtype::f16);
      const std::size_t first = arrays.size();
      for (const auto* bytes : {&w.values, &w.columns, &w.metadata}) arrays.emplace_back(*bytes);
      views.push_back({w.grid, Dtype::f16, arrays[first].data(), arrays[first + 1].data(),
                       arrays[first + 2].data(), nullptr});
      const PackedWeight packed(w.view());
      multiply_by(select_of(Family::decode, product_info(packed, in), packed.impl().device_info),
                  packed, in, output(y), {}, {}, nullptr);
      expect_ok(cudaDeviceSynchronize());
      want.push_back(y.read());
    }
    PackedWeight weight(views[0]);
    expect_ok(cudaDeviceSynchronize());
    std::vector<GpuBytes> outputs;
    for (int i = 0; i < 2 * kRounds; ++i) outputs.emplace_back(kRows * 2);
    const auto run = [&](cudaStream_t stream) {
      for (int i = 0; i < kRounds; ++i) {
        weight.repack(views[static_cast<std::size_t>(i % 2)], stream);
        for (int n = 0; n < 2; ++n)
          multiply_by(
              select_of(Family::decode, product_info(weight, in), weight.impl().device_info),
              weight, in, output(outputs[static_cast<std::size_t>(2 * i + n)]), {}, {}, stream);
      }
    };
    const OwnStream stream;
    run(stream);
    expect_ok(cudaStreamSynchronize(stream));
    for (int i = 0; i < 2 * kRounds; ++i) {
      EXPECT_EQ(outputs[static_cast<std::size_t>(i)].read(),
                want[static_cast<std::size_t>(i / 2 % 2)]);
      expect_ok(cudaMemset(outputs[static_cast<std::size_t>(i)].data(), 0xFF, kRows * 2));
    }
    expect_ok(cudaDeviceSynchronize());
    replay(run, 3);
    for (int i = 0; i < 2 * kRounds; ++i)
      EXPECT_EQ(outputs[static_cast<std::size_t>(i)].read(),
                want[static_cast<std::size_t>(i / 2 % 2)])
          << "from a graph";
  }
}

// Weights of different heights in one launch, and of kinds that need several.
TEST(CudaDecode, SeveralWeightsShareTheirActivations) {
  COPPICE_NEEDS_GPU();
  constexpr std::int64_t kCols = 1000;
  constexpr std::int64_t kRows[] = {512, 70, 130, 1, 256};
  Random random(4);
  for (const std::vector<const char*>& patterns :
       {std::vector<const char*>{"64:2:8", "64:2:8", "64:2:8"},
        {"2:4", "2:4"},
        {"2:4", "64:2:8", "2:4"},
        {"16:2:8", "64:2:16", "2:4", "2:4", "2:4"},
        {}})
    for (const std::int64_t tokens : {1, 20, 64, 100})
      for (const bool invariant : {false, true}) {
        const MultiplyOptions options{.batch_invariant = invariant};
        const GpuBytes x(random_halves(random, tokens * kCols));
        const Matrix in{x.data(), Dtype::f16, tokens, kCols, Layout::feature_major, 0};
        std::vector<PackedWeight> weights;
        std::vector<GpuBytes> outputs, alone, biases;
        std::vector<Product> products;
        for (std::size_t i = 0; i < patterns.size(); ++i) {
          weights.emplace_back(
              cpu::random_weight(random, Pattern::parse(patterns[i]), kRows[i], kCols, Dtype::f16)
                  .view());
          biases.emplace_back(random_halves(random, kRows[i]));
          outputs.emplace_back(static_cast<std::size_t>(tokens * kRows[i] * 2));
          alone.emplace_back(static_cast<std::size_t>(tokens * kRows[i] * 2));
        }
        for (std::size_t i = 0; i < patterns.size(); ++i)
          products.push_back({&weights[i],
                              {outputs[i].data(), Dtype::f16, tokens, kRows[i],
                               i % 2 == 0 ? Layout::token_major : Layout::feature_major, 0},
                              {.alpha = 0.5f, .bias = biases[i].data(), .bias_dtype = Dtype::f16}});
        const std::int64_t bytes = many_workspace_bytes(products, in, options);
        const GpuBytes workspace(static_cast<std::size_t>(bytes));
        const Workspace lent{workspace.data(), bytes};
        multiply_many(products, in, lent, nullptr, options);
        for (std::size_t i = 0; i < patterns.size(); ++i) {
          Product one = products[i];
          one.y.data = alone[i].data();
          multiply(weights[i], in, one.y, one.epilogue, lent, nullptr, options);
          expect_ok(cudaDeviceSynchronize());
          const std::vector<std::byte> got = outputs[i].read(), want = alone[i].read();
          EXPECT_TRUE(!invariant || got == want) << patterns[i] << ", " << tokens << " tokens";
          std::vector<float> a(got.size() / 2), b(a.size());
          to_float(Dtype::f16, got.data(), a);
          to_float(Dtype::f16, want.data(), b);
          for (std::size_t n = 0; n < a.size(); ++n)
            ASSERT_NEAR(a[n], b[n], 0.01 + 0.002 * std::abs(b[n]))
                << patterns[i] << " number " << i << ", " << tokens << " tokens, element " << n;
        }
      }
  const PackedWeight weight(
      cpu::random_weight(random, Pattern::parse("2:4"), 64, kCols, Dtype::f16).view());
  const GpuBytes x(random_halves(random, kCols)), y(128);
  const Matrix in{x.data(), Dtype::f16, 1, kCols, Layout::feature_major, 0};
  const Product products[] = {{&weight, {y.data(), Dtype::f16, 1, 63, Layout::token_major, 0}, {}},
                              {nullptr, {}, {}}};
  EXPECT_THROW(multiply_many({products, 1}, in), InvalidArgument);
  EXPECT_THROW(multiply_many({products + 1, 1}, in), InvalidArgument);
}

}  // namespace
}  // namespace coppice::cuda
