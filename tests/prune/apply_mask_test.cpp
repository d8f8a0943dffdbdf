#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <vector>

#include "coppice/error.h"
#include "coppice/prune.h"

namespace coppice {
namespace {

// Random bytes, NaNs with payloads and negative zeros among them, with gaps between rows.
TEST(ApplyMask, ClearsExactlyTheUnkept) {
  std::mt19937 random(1);
  for (Dtype dtype : {Dtype::f32, Dtype::f16, Dtype::bf16, Dtype::f8_e4m3, Dtype::i8}) {
    for (std::int64_t cols : {0, 1, 63, 64, 65, 200}) {
      const std::int64_t rows = 9, stride = cols + 3, element = dtype_bytes(dtype);
      std::vector<std::byte> before(static_cast<std::size_t>(rows * stride * element));
      for (std::byte& byte : before) byte = static_cast<std::byte>(random());
      Mask mask(rows, cols);
      for (std::int64_t r = 0; r < rows; ++r)
        for (std::int64_t c = 0; c < cols; ++c)
          if (r == 0 || (r > 1 && random() % 3 == 0)) mask.set(r, c);

      std::vector<std::byte> expected = before, weights = before;
      for (std::int64_t r = 0; r < rows; ++r)
        for (std::int64_t c = 0; c < cols; ++c)
          if (!mask.get(r, c))
            std::memset(expected.data() + (r * stride + c) * element, 0,
                        static_cast<std::size_t>(element));
      apply_mask({weights.data(), dtype, rows, cols, stride}, mask, 3);
      EXPECT_EQ(weights, expected) << dtype_name(dtype) << " " << cols;
    }
  }
}

TEST(ApplyMask, RefusesAnotherShape) {
  std::vector<float> weights(12);
  auto* data = reinterpret_cast<std::byte*>(weights.data());
  EXPECT_THROW(apply_mask({data, Dtype::f32, 3, 4, 0}, Mask(4, 3)), InvalidArgument);
  EXPECT_THROW(apply_mask({data, Dtype::f32, 3, 4, 3}, Mask(3, 4)), InvalidArgument);
  EXPECT_NO_THROW(apply_mask({}, Mask()));
}

}  // namespace
}  // namespace coppice
