// Transposes between the two layouts of activations, and products whose sides share their layouts.
#include <gtest/gtest.h>

#include "coppice/error.h"
#include "cuda/gpu.h"

namespace coppice::cuda {
namespace {

using cpu::Random;
using cpu::random_int;

struct Shape {
  Dtype dtype;
  std::int64_t tokens, features;
  std::int64_t from_extra = 0, to_extra = 0;    // elements of stride beyond a packed one
  std::int64_t from_offset = 0, to_offset = 0;  // elements from an aligned start
};

void check(const Shape& s, Layout from_layout) {
  const Layout to_layout =
      from_layout == Layout::token_major ? Layout::feature_major : Layout::token_major;
  const bool token_major = from_layout == Layout::token_major;
  const std::int64_t rows = token_major ? s.tokens : s.features;
  const std::int64_t cols = token_major ? s.features : s.tokens;
  const std::int64_t from_stride = cols + s.from_extra, to_stride = rows + s.to_extra;
  const auto size = static_cast<std::size_t>(dtype_bytes(s.dtype));
  std::vector<std::byte> from(static_cast<std::size_t>(s.from_offset + rows * from_stride) * size);
  Random random(static_cast<std::uint64_t>(rows * 1000 + cols));
  for (std::byte& b : from) b = static_cast<std::byte>(random_int(random, 0, 255));
  std::vector<std::byte> want(static_cast<std::size_t>(s.to_offset + cols * to_stride) * size,
                              std::byte{GpuBytes::kPoison});
  for (std::int64_t r = 0; r < rows; ++r)
    for (std::int64_t c = 0; c < cols; ++c)
      std::memcpy(
          want.data() + static_cast<std::size_t>(s.to_offset + c * to_stride + r) * size,
          from.data() + static_cast<std::size_t>(s.from_offset + r * from_stride + c) * size, size);
  const GpuBytes input(from), output(want.size());
  transpose({input.data() + static_cast<std::size_t>(s.from_offset) * size, s.dtype, s.tokens,
             s.features, from_layout, from_stride},
            {output.data() + static_cast<std::size_t>(s.to_offset) * size, s.dtype, s.tokens,
             s.features, to_layout, to_stride});
  ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess);
  EXPECT_TRUE(output.read() == want)
      << dtype_name(s.dtype) << " " << s.tokens << " tokens, " << s.features << " features, from "
      << (token_major ? "token" : "feature") << "-major +" << s.from_extra << " @" << s.from_offset
      << " to +" << s.to_extra << " @" << s.to_offset;
}

TEST(CudaTranspose, BothWays) {
  COPPICE_NEEDS_GPU();
  for (const Layout from : {Layout::token_major, Layout::feature_major})
    for (const Dtype dtype : {Dtype::f16, Dtype::f32})
      for (const std::int64_t tokens : {1, 7, 64, 128, 200, 385})
        for (const std::int64_t features : {1, 8, 63, 128, 256, 300}) {
          check({dtype, tokens, features}, from);
          check({dtype, tokens, features, 8, 16}, from);
          check({dtype, tokens, features, 3, 0, 1, 0}, from);
          check({dtype, tokens, features, 0, 5, 0, 3}, from);
        }
}

TEST(CudaTranspose, RefusesWhatDoesNotFit) {
  COPPICE_NEEDS_GPU();
  const GpuBytes a(4096), b(4096);
  const Matrix from{a.data(), Dtype::f16, 16, 32, Layout::token_major, 0};
  MutableMatrix to{b.data(), Dtype::f16, 16, 32, Layout::feature_major, 0};
  to.features = 31;
  EXPECT_THROW(transpose(from, to), InvalidArgument);
  to.features = 32;
  to.layout = Layout::token_major;
  EXPECT_THROW(transpose(from, to), InvalidArgument);
  to.layout = Layout::feature_major;
  to.dtype = Dtype::f32;
  EXPECT_THROW(transpose(from, to), InvalidArgument);
  to.dtype = Dtype::f16;
  to.stride = 15;
  EXPECT_THROW(transpose(from, to), InvalidArgument);
}

}  // namespace
}  // namespace coppice::cuda
