// What the GPU tests share: a device or a skip, device memory with poisoned borders, problems and
// their comparison with the double-precision reference.
#pragma once

#include <cuda_runtime.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include "coppice/cuda.h"
#include "cpu/random_weight.h"
#include "cuda/select.h"

namespace coppice::cuda {

/// Without a GPU a test is skipped, or fails where COPPICE_REQUIRE_GPU is set.
#define COPPICE_NEEDS_GPU()                                                       \
  if (coppice::cuda::device_count() == 0) {                                       \
    if (std::getenv("COPPICE_REQUIRE_GPU") != nullptr) FAIL() << "no usable GPU"; \
    GTEST_SKIP() << "no usable GPU";                                              \
  }                                                                               \
  static_assert(true)

inline void expect_ok(cudaError_t result) {
  ASSERT_EQ(result, cudaSuccess) << cudaGetErrorString(result);
}

/// Device memory with a border of poison behind it.
class GpuBytes {
 public:
  static constexpr std::size_t kBorder = 256;
  static constexpr int kPoison = 0xFF;  // a NaN in every floating type

  explicit GpuBytes(std::size_t bytes) : bytes_(bytes) {
    expect_ok(cudaMalloc(&data_, bytes + kBorder));
    expect_ok(cudaMemset(data_, kPoison, bytes + kBorder));
    settle();
  }
  explicit GpuBytes(const std::vector<std::byte>& host) : GpuBytes(host.size()) {
    if (!host.empty())
      expect_ok(cudaMemcpy(data_, host.data(), host.size(), cudaMemcpyHostToDevice));
    settle();
  }
  GpuBytes(GpuBytes&& other) noexcept : data_(other.data_), bytes_(other.bytes_) {
    other.data_ = nullptr;
  }
  GpuBytes& operator=(GpuBytes&&) = delete;
  ~GpuBytes() { cudaFree(data_); }

  std::byte* data() const { return static_cast<std::byte*>(data_); }
  std::vector<std::byte> read() const {
    std::vector<std::byte> host(bytes_ + kBorder);
    expect_ok(cudaMemcpy(host.data(), data_, host.size(), cudaMemcpyDeviceToHost));
    for (std::size_t i = bytes_; i < host.size(); ++i)
      if (host[i] != std::byte{kPoison}) {
        ADD_FAILURE() << "written behind the end, at byte " << i - bytes_;
        break;
      }
    host.resize(bytes_);
    return host;
  }

 private:
  // Neither call waits for the device, and a stream of a test's own does not wait for them.
  static void settle() { expect_ok(cudaStreamSynchronize(nullptr)); }

  void* data_ = nullptr;
  std::size_t bytes_ = 0;
};

/// A stream that the default one does not wait for.
class OwnStream {
 public:
  OwnStream() { expect_ok(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking)); }
  ~OwnStream() { cudaStreamDestroy(stream_); }
  operator cudaStream_t() const { return stream_; }

 private:
  cudaStream_t stream_ = nullptr;
};

/// One product, all that can vary.
struct Problem {
  Pattern pattern = Pattern::parse("2:4");
  std::int64_t rows = 64, cols = 64, tokens = 64;
  Dtype dtype = Dtype::f16;
  Layout x_layout = Layout::feature_major, y_layout = Layout::feature_major;
  std::int64_t x_extra = 0, y_extra = 0;  ///< elements of stride beyond a packed one
  std::int64_t x_offset = 0;              ///< elements from an aligned start
  bool f32_out = false, bias = false, f32_bias = true, residual = false, permuted = false;
  float alpha = 1;
  Activation activation = Activation::none;
  std::vector<std::int64_t> row_segments{}, col_segments{};

  std::optional<Family> every_kernel_of{};  ///< instead of the library's choice

  std::string describe() const;
};

/// How many random cases: COPPICE_GPU_TEST_CASES, few under compute-sanitizer and thousands in a
/// full check, or as usual.
int case_count(int usual);

/// Two segments and an empty one between them.
std::vector<std::int64_t> random_segments(cpu::Random& random, std::int64_t size);

/// All of a problem at random but its pattern, shape and dtype.
void choose_operands(Problem& problem, cpu::Random& random);

/// Multiplies on the GPU and compares with the reference. @returns the relative error; adds
/// failures for outputs that were not written, or written where they should not be.
void check_problem(const Problem& problem, std::uint64_t seed);

}  // namespace coppice::cuda
