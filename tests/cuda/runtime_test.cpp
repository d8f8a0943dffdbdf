// How a product behaves as a guest: on the caller's stream and in the caller's memory, from several
// threads, on the weight's device.
#include <gmock/gmock.h>

#include <thread>

#include "coppice/error.h"
#include "cuda/gpu.h"
#include "cuda/same_device.h"

namespace coppice::cuda {
namespace {

using cpu::Random;
using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr std::int64_t kRows = 384, kCols = 640, kTokens = 200;

// One product with everything that a call can bring: workspace, bias, residual, activation.
struct Call {
  Call(const char* pattern, Layout layout, std::uint64_t seed)
      : random(seed),
        sparse(cpu::random_weight(random, Pattern::parse(pattern), kRows, kCols, Dtype::f16)),
        weight(sparse.view()),
        x(halves(kTokens * kCols)),
        bias(halves(kRows)),
        residual(halves(kTokens * kRows)),
        y(kTokens * kRows * 2),
        x_matrix{x.data(), Dtype::f16, kTokens, kCols, layout, 0},
        workspace(static_cast<std::size_t>(workspace_bytes(weight, x_matrix))) {}

  std::vector<std::byte> halves(std::int64_t count) {
    std::vector<std::byte> bytes(static_cast<std::size_t>(count * 2));
    from_float(Dtype::f16, cpu::random_floats(random, count), bytes.data());
    return bytes;
  }
  MutableMatrix output(const GpuBytes& memory) const {
    return {memory.data(), Dtype::f16, kTokens, kRows, x_matrix.layout, 0};
  }
  Epilogue epilogue() const {
    return {0.5f, bias.data(), Dtype::f16, Activation::silu, residual.data()};
  }
  Workspace lent(const GpuBytes& memory) const {
    return {memory.data(), workspace_bytes(weight, x_matrix)};
  }
  void run(cudaStream_t stream) const {
    multiply(weight, x_matrix, output(y), epilogue(), lent(workspace), stream);
  }

  Random random;
  SparseMatrix sparse;
  PackedWeight weight;
  GpuBytes x, bias, residual, y;
  Matrix x_matrix;
  GpuBytes workspace;
};

// Every family and every way to prepare activations.
template <typename Check>
void for_every_way(const Check& check) {
  std::uint64_t seed = 1;
  for (const char* pattern : {"2:4", "16:2:8", "64:2:8", "128:2:8", "2:8", "4:8"})
    for (Layout layout : {Layout::token_major, Layout::feature_major}) {
      const Call call(pattern, layout, seed++);
      SCOPED_TRACE(kernel_name(call.weight, kTokens, layout));
      check(call);
    }
}

// Global capture fails on allocation, on synchronisation, and on work for another stream.
TEST(CudaRuntime, OnlyEnqueuesOnTheCallersStream) {
  COPPICE_NEEDS_GPU();
  for_every_way([](const Call& call) {
    const OwnStream stream;
    call.run(stream);
    expect_ok(cudaStreamSynchronize(stream));
    const auto once = call.y.read();
    std::size_t free_before = 0, free_after = 0, total = 0;
    expect_ok(cudaMemGetInfo(&free_before, &total));
    cudaGraph_t graph = nullptr;
    cudaGraphExec_t executable = nullptr;
    expect_ok(cudaMemset(call.y.data(), 0xFF, once.size()));
    expect_ok(cudaDeviceSynchronize());
    expect_ok(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal));
    call.run(stream);
    expect_ok(cudaStreamEndCapture(stream, &graph));
    std::size_t nodes = 0;
    expect_ok(cudaGraphGetNodes(graph, nullptr, &nodes));
    EXPECT_GE(nodes, call.workspace.read().empty() ? 1u : 2u);
    expect_ok(cudaGraphInstantiate(&executable, graph, 0));
    expect_ok(cudaMemGetInfo(&free_after, &total));
    EXPECT_NE(call.y.read(), once) << "captured work must not run yet";
    expect_ok(cudaGraphLaunch(executable, stream));
    expect_ok(cudaStreamSynchronize(stream));
    EXPECT_EQ(call.y.read(), once) << "the same bits from a graph";
    cudaGraphExecDestroy(executable);
    cudaGraphDestroy(graph);
  });
}

TEST(CudaRuntime, AllocatesNothing) {
  COPPICE_NEEDS_GPU();
  for_every_way([](const Call& call) {
    call.run(nullptr);  // loads the kernel
    expect_ok(cudaDeviceSynchronize());
    std::size_t before = 0, after = 0, total = 0;
    expect_ok(cudaMemGetInfo(&before, &total));
    for (int i = 0; i < 20; ++i) call.run(nullptr);
    expect_ok(cudaDeviceSynchronize());
    expect_ok(cudaMemGetInfo(&after, &total));
    EXPECT_EQ(before, after);
  });
}

TEST(CudaRuntime, SameBitsEveryTime) {
  COPPICE_NEEDS_GPU();
  for_every_way([](const Call& call) {
    call.run(nullptr);
    expect_ok(cudaDeviceSynchronize());
    const auto first = call.y.read();
    for (int i = 0; i < 10; ++i) {
      expect_ok(cudaMemset(call.y.data(), i, first.size()));
      if (!call.workspace.read().empty())
        expect_ok(cudaMemset(call.workspace.data(), 0xFF, call.workspace.read().size()));
      call.run(nullptr);
      expect_ok(cudaDeviceSynchronize());
      ASSERT_EQ(call.y.read(), first);
    }
  });
}

TEST(CudaRuntime, ThreadsShareAWeight) {
  COPPICE_NEEDS_GPU();
  for_every_way([](const Call& call) {
    call.run(nullptr);
    expect_ok(cudaDeviceSynchronize());
    const auto want = call.y.read();
    constexpr int kThreads = 2, kCalls = 50;
    std::vector<GpuBytes> outputs, workspaces;
    for (int i = 0; i < kThreads; ++i) {
      outputs.emplace_back(want.size());
      workspaces.emplace_back(call.workspace.read().size());
    }
    std::vector<std::thread> threads;
    for (std::size_t i = 0; i < kThreads; ++i)
      threads.emplace_back([&, i] {
        const OwnStream stream;
        for (int n = 0; n < kCalls; ++n)
          multiply(call.weight, call.x_matrix, call.output(outputs[i]), call.epilogue(),
                   call.lent(workspaces[i]), stream);
        expect_ok(cudaStreamSynchronize(stream));
      });
    for (std::thread& thread : threads) thread.join();
    for (const GpuBytes& output : outputs) EXPECT_EQ(output.read(), want);
  });
}

// What an exception of `call` says.
template <typename Run>
std::string what_of(const Run& run) {
  try {
    run();
  } catch (const InvalidArgument& error) {
    return error.what();
  }
  return "no exception";
}

TEST(CudaRuntime, ErrorsNameTheShape) {
  COPPICE_NEEDS_GPU();
  const Call call("64:2:8", Layout::token_major, 5);
  const auto with = [&](auto change) {
    Matrix x = call.x_matrix;
    MutableMatrix y = call.output(call.y);
    Workspace workspace = call.lent(call.workspace);
    change(x, y, workspace);
    return what_of([&] { multiply(call.weight, x, y, {}, workspace); });
  };
  EXPECT_THAT(with([](Matrix& x, auto&, auto&) { x.features = 600; }),
              AllOf(HasSubstr("600"), HasSubstr("384 x 640")));
  EXPECT_THAT(with([](auto&, MutableMatrix& y, auto&) { y.features = 385; }),
              AllOf(HasSubstr("385"), HasSubstr("384 x 640")));
  EXPECT_THAT(with([](auto&, MutableMatrix& y, auto&) { y.tokens = 199; }),
              AllOf(HasSubstr("199"), HasSubstr("200")));
  EXPECT_THAT(with([](Matrix& x, auto&, auto&) { x.stride = 639; }),
              AllOf(HasSubstr("639"), HasSubstr("640")));
  EXPECT_THAT(with([](Matrix& x, auto&, auto&) { x.data = nullptr; }), HasSubstr("x has no data"));
  EXPECT_THAT(with([](auto&, auto&, Workspace& w) { w.bytes -= 1; }),
              AllOf(HasSubstr("workspace"), HasSubstr("200 tokens, 640 features")));
  EXPECT_THAT(
      with([](auto&, auto&, Workspace& w) { w.data = static_cast<std::byte*>(w.data) + 16; }),
      HasSubstr("256 bytes"));
}

// What runs on machines with several GPUs only.
TEST(CudaRuntime, ChecksOfDevicesCanBeCaptured) {
  COPPICE_NEEDS_GPU();
  const Call call("64:2:8", Layout::token_major, 7);
  const OwnStream stream, other;
  const auto check = [&](cudaStream_t on) {
    check_same_device(call.weight, call.x_matrix, call.output(call.y), call.epilogue(),
                      call.lent(call.workspace), on);
  };
  check(nullptr);
  check(stream);
  cudaGraph_t graph = nullptr;
  expect_ok(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal));
  check(stream);
  check(other);
  call.run(stream);
  expect_ok(cudaStreamEndCapture(stream, &graph));
  cudaGraphDestroy(graph);
}

TEST(CudaRuntime, TheWeightRemembersItsDevice) {
  COPPICE_NEEDS_GPU();
  int devices = 0;
  expect_ok(cudaGetDeviceCount(&devices));
  if (devices < 2) GTEST_SKIP() << "one GPU only";
  expect_ok(cudaSetDevice(1));
  const Call call("128:2:8", Layout::feature_major, 6);
  EXPECT_EQ(call.weight.device(), 1);
  call.run(nullptr);
  expect_ok(cudaDeviceSynchronize());
  const auto want = call.y.read();
  expect_ok(cudaMemset(call.y.data(), 0xFF, want.size()));
  expect_ok(cudaDeviceSynchronize());

  expect_ok(cudaSetDevice(0));
  call.run(nullptr);  // on device 1 all the same
  int current = -1;
  expect_ok(cudaGetDevice(&current));
  EXPECT_EQ(current, 0) << "the caller's device is left as it was";
  expect_ok(cudaSetDevice(1));
  expect_ok(cudaDeviceSynchronize());
  EXPECT_EQ(call.y.read(), want);

  expect_ok(cudaSetDevice(0));
  const GpuBytes elsewhere(want.size());
  const OwnStream stream;
  Matrix x = call.x_matrix;
  x.data = elsewhere.data();
  EXPECT_THAT(what_of([&] { multiply(call.weight, x, call.output(call.y)); }),
              AllOf(HasSubstr("x is on device 0"), HasSubstr("device 1")));
  EXPECT_THAT(what_of([&] { multiply(call.weight, call.x_matrix, call.output(elsewhere)); }),
              HasSubstr("y is on device 0"));
  EXPECT_THAT(
      what_of([&] { multiply(call.weight, call.x_matrix, call.output(call.y), {}, {}, stream); }),
      HasSubstr("the stream is on device 0"));
}

}  // namespace
}  // namespace coppice::cuda
