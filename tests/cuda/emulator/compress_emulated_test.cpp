// Masks by magnitude and canonical arrays made by kernels, on the host: the bytes of the CPU's.
#include <gtest/gtest.h>

#include "coppice/cuda_compress.h"
#include "coppice/prune.h"
#include "cuda/gpu.h"

namespace coppice::cuda {
namespace {

struct CompressCase {
  const char* pattern;
  std::int64_t rows, cols;
  Dtype dtype = Dtype::f16;
  std::int64_t extra = 0;  ///< elements of stride beyond a packed one
};

void check(const CompressCase& c) {
  SCOPED_TRACE(testing::Message() << c.pattern << " " << c.rows << " x " << c.cols);
  const std::int64_t stride = c.cols + c.extra;
  cpu::Random random(static_cast<std::uint64_t>(31 * c.rows + c.cols));
  std::vector<float> values = cpu::random_floats(random, c.rows * stride);
  for (float& v : values) v = std::round(v * 8) / 8;  // some are equal
  std::vector<std::byte> bytes(values.size() * static_cast<std::size_t>(dtype_bytes(c.dtype)));
  from_float(c.dtype, values, bytes.data());
  const DenseView view{bytes.data(), c.dtype, c.rows, c.cols, stride};
  const Pattern pattern = Pattern::parse(c.pattern);
  const SparseMatrix want =
      compress(view, magnitude_mask(view, pattern, {}).mask, pattern, CompressOptions{});

  const auto grid = std::make_shared<const Grid>(pattern, WeightShape{c.rows, c.cols, {}, {}});
  const MagnitudeCompressor compressor(grid, c.dtype);
  const GpuBytes dense(bytes), kept(want.values.size()), columns(want.columns.size()),
      metadata(want.metadata.size()),
      workspace(static_cast<std::size_t>(compressor.workspace_bytes()));
  compressor.compress(dense.data(), stride, {kept.data(), columns.data(), metadata.data()},
                      workspace.data());
  (void)workspace.read();
  EXPECT_EQ(columns.read(), want.columns);
  EXPECT_EQ(metadata.read(), want.metadata);
  EXPECT_EQ(kept.read(), want.values);
}

TEST(EmulatedCompress, AsOnTheCpu) {
  for (const CompressCase& c : {CompressCase{"2:4", 33, 100},
                                {"2:4", 16, 128, Dtype::bf16, 4},
                                {"2:8", 20, 100, Dtype::f32, 3},
                                {"16:32", 9, 200},
                                {"8:100", 7, 333, Dtype::bf16},
                                {"vw16/8:32", 40, 100, Dtype::bf16},
                                {"bw4x4/2:4", 20, 70},
                                {"16:2:8", 40, 64},
                                {"64:2:8", 70, 44, Dtype::bf16},
                                {"32:2:16", 40, 48, Dtype::f32}})
    check(c);
}

}  // namespace
}  // namespace coppice::cuda
