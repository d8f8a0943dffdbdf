// Packing on the device against the reference on the host, byte for byte.
#include <gtest/gtest.h>

#include <memory>

#include "coppice/cuda_compress.h"
#include "coppice/error.h"
#include "cuda/gpu.h"
#include "cuda/host_pack.h"
#include "cuda/weight.h"

namespace coppice::cuda {
namespace {

using cpu::Random;
using cpu::random_int;

std::vector<std::byte> read_device(const void* data, std::size_t bytes) {
  std::vector<std::byte> host(bytes);
  if (bytes > 0) expect_ok(cudaMemcpy(host.data(), data, bytes, cudaMemcpyDeviceToHost));
  return host;
}

void expect_packed(const PackedWeight& packed, const SparseMatrix& weight, const char* what) {
  const HostPack want = pack_on_host(weight.view(), 1);
  const PackedWeight::Impl& impl = packed.impl();
  EXPECT_EQ(packed.bytes(), want.plan.places().bytes);
  ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess);
  EXPECT_TRUE(read_device(impl.records, want.records.size()) == want.records)
      << what << ": records";
  EXPECT_TRUE(read_device(impl.columns.data, want.columns.size()) == want.columns)
      << what << ": columns";
  const auto units = read_device(impl.units, want.plan.units.size() * sizeof(RowUnit));
  EXPECT_TRUE(units.empty() || std::memcmp(units.data(), want.plan.units.data(), units.size()) == 0)
      << what << ": units";
}

// The canonical arrays in device memory, `shift` bytes (of columns and metadata) and elements (of
// values) behind an aligned start.
struct DeviceArrays {
  std::shared_ptr<const Grid> grid;
  Dtype dtype;
  std::size_t shift;
  GpuBytes values, columns, metadata, permutation;
  bool permuted;

  static std::vector<std::byte> moved(const std::vector<std::byte>& bytes, std::size_t by) {
    std::vector<std::byte> all(by, std::byte{0});
    all.insert(all.end(), bytes.begin(), bytes.end());
    return all;
  }
  DeviceArrays(const SparseMatrix& w, std::size_t by)
      : grid(w.grid),
        dtype(w.dtype),
        shift(by),
        values(moved(w.values, 2 * by)),
        columns(moved(w.columns, by)),
        metadata(moved(w.metadata, by)),
        permutation(w.input_permutation.size() * 4),
        permuted(!w.input_permutation.empty()) {
    if (permuted)
      expect_ok(cudaMemcpy(permutation.data(), w.input_permutation.data(),
                           w.input_permutation.size() * 4, cudaMemcpyHostToDevice));
  }
  SparseDeviceView view() const {
    return {grid,
            dtype,
            values.data() + 2 * shift,
            columns.data() + shift,
            metadata.data() + shift,
            permuted ? reinterpret_cast<const std::uint32_t*>(permutation.data()) : nullptr};
  }
};

void check(const char* pattern, std::int64_t rows, std::int64_t cols,
           const cpu::RandomWeightOptions& options = {}, std::size_t shift = 0) {
  Random random(static_cast<std::uint64_t>(rows * 1000 + cols) + shift);
  const SparseMatrix weight =
      cpu::random_weight(random, Pattern::parse(pattern), rows, cols, Dtype::f16, options);
  const std::string what =
      std::string(pattern) + " " + std::to_string(rows) + " x " + std::to_string(cols);
  if (shift == 0) expect_packed(PackedWeight(weight.view()), weight, what.c_str());
  const DeviceArrays arrays(weight, shift);
  expect_packed(PackedWeight(arrays.view()), weight, what.c_str());
}

TEST(CudaPack, AsOnTheHost) {
  COPPICE_NEEDS_GPU();
  for (const char* pattern : {"2:4", "2:2:8", "16:2:8", "20:2:5", "32:2:7", "64:2:8", "100:2:16",
                              "128:2:8", "256:2:32", "16:2:17", "32:2:100", "64:2:256"})
    for (std::int64_t rows : {0, 1, 15, 64, 300})
      for (std::int64_t cols : {0, 1, 3, 64, 67, 128, 333, 1024}) check(pattern, rows, cols);
}

TEST(CudaPack, UnalignedArrays) {
  COPPICE_NEEDS_GPU();
  for (const char* pattern : {"2:4", "16:2:8", "64:2:16", "128:2:20"})
    for (std::size_t shift : {1, 2, 3, 8}) check(pattern, 130, 1024, {}, shift);
}

TEST(CudaPack, SegmentsAndPermutation) {
  COPPICE_NEEDS_GPU();
  for (const char* pattern : {"2:4", "16:2:8", "64:2:16", "128:2:5", "32:2:100"}) {
    check(pattern, 200, 150, {.row_segments = {70, 0, 130}, .col_segments = {}, .permuted = false});
    check(pattern, 200, 150, {.row_segments = {}, .col_segments = {33, 117}, .permuted = false});
    check(pattern, 200, 150, {.row_segments = {}, .col_segments = {}, .permuted = true});
    check(pattern, 200, 150,
          {.row_segments = {1, 199}, .col_segments = {6, 144}, .permuted = true});
  }
}

TEST(CudaPack, RandomWeights) {
  COPPICE_NEEDS_GPU();
  const int count = case_count(400) / 4;
  Random random(20261122);
  for (int i = 0; i < count && !testing::Test::HasFailure(); ++i) {
    // 1:2:M is the element-wise 2:M, which has another packing (element_host_test.cpp).
    const int vec_rows = random_int(random, 2, 300), group = random_int(random, 5, 256);
    const std::string pattern = random_int(random, 0, 3) == 0
                                    ? "2:4"
                                    : std::to_string(vec_rows) + ":2:" +
                                          std::to_string(group > 128 ? group : group % 32 + 5);
    const int rows = random_int(random, 1, 700), cols = random_int(random, 1, 1500);
    cpu::RandomWeightOptions options;
    if (random_int(random, 0, 2) == 0) {
      const std::int64_t first = random_int(random, 0, cols);
      options.col_segments = {first, cols - first};
    }
    options.permuted = random_int(random, 0, 3) == 0;
    check(pattern.c_str(), rows, cols, options, static_cast<std::size_t>(random_int(random, 0, 2)));
  }
}

// Dense weight, mask, canonical form, packed form: all on the device and on one stream.
TEST(CudaPack, FromADenseWeightOnTheDevice) {
  COPPICE_NEEDS_GPU();
  cudaStream_t stream;
  ASSERT_EQ(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), cudaSuccess);
  Random random(3);
  for (const char* pattern : {"2:4", "16:2:8", "64:2:8", "128:2:16"}) {
    const std::int64_t rows = 256, cols = 768;
    std::vector<std::byte> dense(static_cast<std::size_t>(rows * cols * 2));
    from_float(Dtype::bf16, cpu::random_floats(random, rows * cols), dense.data());
    const SparseMatrix want =
        magnitude_compress({dense.data(), Dtype::bf16, rows, cols, 0}, Pattern::parse(pattern));
    const MagnitudeCompressor compressor(want.grid, Dtype::bf16);
    const GpuBytes input(dense), values(want.values.size()), columns(want.columns.size()),
        metadata(want.metadata.size()),
        workspace(static_cast<std::size_t>(compressor.workspace_bytes()));
    compressor.compress(input.data(), 0, {values.data(), columns.data(), metadata.data()},
                        workspace.data(), stream);
    const PackedWeight packed(
        {want.grid, Dtype::bf16, values.data(), columns.data(), metadata.data(), nullptr}, stream);
    ASSERT_EQ(cudaStreamSynchronize(stream), cudaSuccess);
    expect_packed(packed, want, pattern);
  }
  cudaStreamDestroy(stream);
}

std::vector<std::byte> product_of(const PackedWeight& weight, const GpuBytes& x) {
  constexpr std::int64_t kTokens = 5;
  const Matrix input{x.data(), weight.dtype(), kTokens, weight.cols(), Layout::token_major, 0};
  const GpuBytes y(static_cast<std::size_t>(kTokens * weight.rows() * 2)),
      workspace(static_cast<std::size_t>(workspace_bytes(weight, input)));
  multiply(weight, input, {y.data(), weight.dtype(), kTokens, weight.rows()}, {},
           {workspace.data(), workspace_bytes(weight, input)});
  return y.read();
}

TEST(CudaPack, InLentMemory) {
  COPPICE_NEEDS_GPU();
  Random random(5);
  for (const char* pattern : {"2:4", "64:2:8", "20:2:5", "2:8", "vw32/8:32", "bw4x4/1:4"})
    for (const bool permuted : {false, true}) {
      SCOPED_TRACE(pattern);
      const SparseMatrix weight =
          cpu::random_weight(random, Pattern::parse(pattern), 200, 330, Dtype::f16,
                             {.row_segments = {}, .col_segments = {}, .permuted = permuted});
      const DeviceArrays arrays(weight, 0);
      const PackedWeight own(weight.view());
      const GpuBytes x(std::vector<std::byte>(5 * 330 * 2, std::byte{0x3C}));
      std::vector<GpuBytes> memory;
      const PackedWeight lent(arrays.view(), nullptr, [&](std::int64_t bytes) {
        memory.emplace_back(static_cast<std::size_t>(bytes));
        return memory.back().data();
      });
      ASSERT_EQ(memory.size(), 1u);
      EXPECT_EQ(lent.bytes(), own.bytes());
      const std::vector<std::byte> want = product_of(own, x);
      EXPECT_EQ(product_of(lent, x), want);
      const GpuBytes copy(memory.back().read());
      EXPECT_EQ(product_of(PackedWeight::over(weight.grid, Dtype::f16, permuted, copy.data()), x),
                want);
      EXPECT_THROW(PackedWeight(arrays.view(), nullptr,
                                [&](std::int64_t) { return memory.back().data() + 16; }),
                   InvalidArgument);
    }
  const auto grid =
      std::make_shared<const Grid>(Pattern::parse("2:4"), WeightShape{64, 64, {}, {}});
  EXPECT_THROW(PackedWeight::over(grid, Dtype::f16, false, nullptr), InvalidArgument);
}

TEST(CudaPack, RepacksInAGraph) {
  COPPICE_NEEDS_GPU();
  Random random(4);
  const Pattern pattern = Pattern::parse("32:2:8");
  const SparseMatrix first = cpu::random_weight(random, pattern, 200, 333, Dtype::f16),
                     second = cpu::random_weight(random, pattern, 200, 333, Dtype::f16);
  PackedWeight packed(first.view());
  const DeviceArrays arrays(second, 0);
  cudaStream_t stream;
  cudaGraph_t graph;
  cudaGraphExec_t executable;
  expect_ok(cudaStreamCreate(&stream));
  expect_ok(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
  packed.repack(arrays.view(), stream);
  expect_ok(cudaStreamEndCapture(stream, &graph));
  expect_packed(packed, first, "before the replay");
  expect_ok(cudaGraphInstantiate(&executable, graph, 0));
  expect_ok(cudaGraphLaunch(executable, stream));
  expect_ok(cudaStreamSynchronize(stream));
  expect_packed(packed, second, "after the replay");
  expect_ok(cudaGraphExecDestroy(executable));
  expect_ok(cudaGraphDestroy(graph));
  expect_ok(cudaStreamDestroy(stream));
}

TEST(CudaPack, RefusesWhatDoesNotFit) {
  COPPICE_NEEDS_GPU();
  Random random(5);
  const auto weight = [&](const char* pattern, std::int64_t rows, Dtype dtype = Dtype::f16) {
    return cpu::random_weight(random, Pattern::parse(pattern), rows, 64, dtype);
  };
  EXPECT_THROW(PackedWeight(weight("64:3/6:8", 64).view()), InvalidArgument);
  EXPECT_THROW(PackedWeight(weight("2:4", 64, Dtype::f32).view()), InvalidArgument);
  EXPECT_THROW(PackedWeight(SparseDeviceView{}), InvalidArgument);
  PackedWeight packed(weight("64:2:8", 64).view());
  const DeviceArrays longer(weight("64:2:8", 128), 0), other(weight("64:2:16", 64), 0);
  EXPECT_THROW(packed.repack(longer.view()), InvalidArgument);
  EXPECT_THROW(packed.repack(other.view()), InvalidArgument);
  const SparseMatrix same = weight("64:2:8", 64);
  const DeviceArrays arrays(same, 0);
  SparseDeviceView view = arrays.view();
  view.metadata = nullptr;
  EXPECT_THROW(packed.repack(view), InvalidArgument);
  view = arrays.view();
  view.input_permutation = reinterpret_cast<const std::uint32_t*>(arrays.values.data());
  EXPECT_THROW(packed.repack(view), InvalidArgument);
}

// Device memory: the weight's own bytes and at most 2 % more.
TEST(CudaPack, MemoryIsThatOfTheWeight) {
  COPPICE_NEEDS_GPU();
  Random random(6);
  for (const char* pattern : {"2:4", "16:2:8", "32:2:8", "64:2:8", "128:2:16", "16:2:32"}) {
    const SparseMatrix weight =
        cpu::random_weight(random, Pattern::parse(pattern), 512, 4096, Dtype::f16);
    EXPECT_LE(static_cast<double>(PackedWeight(weight.view()).bytes()),
              1.02 * static_cast<double>(weight.own_bytes()))
        << pattern;
  }
}

}  // namespace
}  // namespace coppice::cuda
