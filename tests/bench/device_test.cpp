// Rotation of operands on a GPU: the arithmetic needs none.
#include "bench/cuda/device.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "cuda/gpu.h"

namespace coppice::bench {
namespace {

TEST(Rotation, CopiesTotalWhatNoCacheHolds) {
  for (const std::int64_t bytes : {std::int64_t{100'000}, std::int64_t{1} << 20, kRotatedBytes / 3,
                                   kRotatedBytes, 3 * kRotatedBytes}) {
    const std::int64_t copies = rotated_copies(bytes);
    EXPECT_GE(copies * bytes, kRotatedBytes) << bytes;
    EXPECT_GE(copies, 2) << bytes;
    EXPECT_TRUE(copies == 2 || (copies - 1) * bytes < kRotatedBytes) << bytes;
  }
  // A graph does not go through more of them.
  EXPECT_EQ(rotated_copies(1), ReplayedCall::kMostCalls);
  EXPECT_EQ(rotated_copies(0), ReplayedCall::kMostCalls);
}

TEST(RandomValues, AreNormalInEveryTypeAndDifferBetweenSeeds) {
  COPPICE_NEEDS_GPU();
  constexpr std::int64_t kCount = 100'003;
  const auto read = [&](Dtype dtype, std::uint64_t seed) {
    const DeviceMemory memory = random_values(kCount, dtype, seed);
    std::vector<std::byte> bytes(static_cast<std::size_t>(kCount * dtype_bytes(dtype)));
    check_cuda(cudaMemcpy(bytes.data(), memory.data(), bytes.size(), cudaMemcpyDeviceToHost),
               "reading");
    std::vector<float> values(kCount);
    to_float(dtype, bytes.data(), values);
    return values;
  };
  for (const Dtype dtype : {Dtype::f16, Dtype::bf16, Dtype::f32}) {
    const std::vector<float> values = read(dtype, 1);
    double sum = 0, squares = 0;
    for (const float v : values) {
      sum += v;
      squares += double{v} * v;
    }
    EXPECT_NEAR(sum / kCount, 0, 0.02);
    EXPECT_NEAR(squares / kCount, 1, 0.03);
    EXPECT_NE(values, read(dtype, 2));
  }
  EXPECT_NO_THROW(random_values(kCount, Dtype::f8_e4m3, 1));
}

TEST(ReplayedCalls, GoThroughAllTurnsFromNoughtOn) {
  COPPICE_NEEDS_GPU();
  cudaStream_t stream = nullptr;
  check_cuda(cudaStreamCreate(&stream), "a stream");
  {
    DeviceMemory memory(1 << 20);
    std::vector<int> turns;
    ReplayedCall replayed(
        [&](int i, cudaStream_t s) {
          turns.push_back(i);
          check_cuda(cudaMemsetAsync(memory.data(), 0, 1 << 20, s), "a memset");
        },
        stream, 1e-3);
    // Three to warm up, four to estimate the time, and the graph's own.
    ASSERT_GT(turns.size(), 3u + 4u + 4u);
    for (std::size_t i = 7; i < turns.size(); ++i) EXPECT_EQ(turns[i], static_cast<int>(i - 7));
    const std::size_t before = turns.size();
    bool meanwhile = false;
    EXPECT_GT(replayed.replay([&] { meanwhile = true; }), 0);
    EXPECT_TRUE(meanwhile);
    EXPECT_EQ(turns.size(), before) << "a replay enqueues nothing itself";
  }
  cudaStreamDestroy(stream);
}

}  // namespace
}  // namespace coppice::bench
