#include <fmt/format.h>
#include <gmock/gmock.h>

#include <limits>
#include <string>
#include <vector>

#include "coppice/cuda_compress.h"
#include "coppice/error.h"
#include "coppice/prune.h"
#include "cuda/gpu.h"
#include "format/random_case.h"

namespace coppice::cuda {
namespace {

using coppice::testing::Random;
using coppice::testing::random_segments;
using ::testing::HasSubstr;

/// What the weights look like: what ties, and where sums of floats need care.
enum class Fill { normal, few_values, sparse, extreme, constant };

constexpr Fill kFills[] = {Fill::normal, Fill::few_values, Fill::sparse, Fill::extreme,
                           Fill::constant};
constexpr Dtype kDtypes[] = {Dtype::f16, Dtype::bf16, Dtype::f32};

float random_weight(Random& random, Fill fill) {
  const auto normal = [&] {
    float sum = 0;
    for (int i = 0; i < 4; ++i) sum += static_cast<float>(random.pick(-10000, 10000)) * 1e-5f;
    return sum;
  };
  switch (fill) {
    case Fill::normal:
      return normal();
    case Fill::few_values:
      return static_cast<float>(random.pick(-3, 3)) * 0.5f;
    case Fill::sparse:
      return random.chance(0.8) ? (random.chance(0.5) ? 0.0f : -0.0f) : normal();
    case Fill::extreme:
      if (random.chance(0.01)) return std::numeric_limits<float>::infinity();
      return std::ldexp(normal(), random.pick(-40, 15));
    case Fill::constant:
      return 0.25f;
  }
  return 0;
}

struct Weight {
  std::int64_t rows = 0, cols = 0, stride = 0;
  Dtype dtype = Dtype::f16;
  std::vector<std::byte> bytes;
  DenseView view() const { return {bytes.data(), dtype, rows, cols, stride}; }
};

Weight make_weight(Random& random, std::int64_t rows, std::int64_t cols, Dtype dtype, Fill fill,
                   std::int64_t extra = 0) {
  Weight w{rows, cols, cols + extra, dtype, {}};
  const auto size = static_cast<std::size_t>(dtype_bytes(dtype));
  w.bytes.assign(static_cast<std::size_t>(rows * w.stride) * size, std::byte{0xFF});
  for (std::int64_t r = 0; r < rows; ++r)
    for (std::int64_t c = 0; c < cols; ++c) {
      const std::uint32_t bits = from_float(dtype, random_weight(random, fill));
      std::memcpy(w.bytes.data() + static_cast<std::size_t>(r * w.stride + c) * size, &bits, size);
    }
  return w;
}

SparseMatrix on_cpu(const Weight& w, const Pattern& pattern, const CompressOptions& options) {
  MaskOptions mask_options;
  mask_options.row_segments = options.row_segments;
  mask_options.col_segments = options.col_segments;
  return compress(w.view(), magnitude_mask(w.view(), pattern, mask_options).mask, pattern, options);
}

/// Poisons everything that is written, and gives the compressor just the memory it asked for.
SparseMatrix on_gpu(const Weight& w, const Pattern& pattern, const CompressOptions& options,
                    std::int64_t offset = 0) {
  SparseMatrix out;
  out.grid = std::make_shared<const Grid>(
      pattern, WeightShape{w.rows, w.cols, options.row_segments, options.col_segments});
  out.dtype = w.dtype;
  const MagnitudeCompressor compressor(out.grid, w.dtype);
  const auto size = static_cast<std::size_t>(dtype_bytes(w.dtype));
  const auto shift = static_cast<std::size_t>(offset) * size;
  std::vector<std::byte> shifted(shift, std::byte{0xFF});
  shifted.insert(shifted.end(), w.bytes.begin(), w.bytes.end());
  const GpuBytes dense(shifted);
  const GpuBytes values(static_cast<std::size_t>(out.grid->values_bytes(w.dtype)));
  const GpuBytes columns(static_cast<std::size_t>(out.grid->columns_bytes()));
  const GpuBytes metadata(static_cast<std::size_t>(out.grid->metadata_bytes()));
  const GpuBytes workspace(static_cast<std::size_t>(compressor.workspace_bytes()));
  compressor.compress(dense.data() + shift, w.stride,
                      {values.data(), columns.data(), metadata.data()}, workspace.data());
  expect_ok(cudaDeviceSynchronize());
  out.values = values.read();
  out.columns = columns.read();
  out.metadata = metadata.read();
  workspace.read();
  return out;
}

void expect_same(const SparseMatrix& gpu, const SparseMatrix& cpu, const std::string& name) {
  EXPECT_EQ(gpu.columns, cpu.columns) << "columns of " << name;
  EXPECT_EQ(gpu.metadata, cpu.metadata) << "metadata of " << name;
  EXPECT_EQ(gpu.values, cpu.values) << "values of " << name;
}

void check_pattern(const char* spelling, int rows, int cols, unsigned seed) {
  Random random(seed);
  const Pattern pattern = Pattern::parse(spelling);
  for (const Dtype dtype : kDtypes) {
    for (const Fill fill : kFills) {
      const Weight w = make_weight(random, rows, cols, dtype, fill);
      expect_same(on_gpu(w, pattern, {}), on_cpu(w, pattern, {}),
                  fmt::format("{} {}x{} {} fill {}", spelling, rows, cols, dtype_name(dtype),
                              static_cast<int>(fill)));
      if (::testing::Test::HasFailure()) return;
    }
  }
}

TEST(CudaCompress, CommonPatternsAsOnTheCpu) {
  COPPICE_NEEDS_GPU();
  unsigned seed = 1;
  for (const char* pattern :
       {"dense", "2:4", "1:4", "4:8", "2:8", "3:32", "8:32", "5:7", "20:60", "100:256", "vw4/2:4",
        "vw32/8:32", "vw16/3:200", "bw4x4/8:32", "bw1x3/2:5", "bw32x32/2:4", "bw2x70/3:9"})
    check_pattern(pattern, 70, 512, seed++);
}

TEST(CudaCompress, SparseTensorCorePatternsAsOnTheCpu) {
  COPPICE_NEEDS_GPU();
  unsigned seed = 100;
  for (const char* pattern : {"16:2:5", "16:2:6", "32:2:7", "64:2:8", "128:2:8", "7:2:8", "1:2:8",
                              "16:2:9", "64:2:16", "128:2:32", "20:2:32"})
    check_pattern(pattern, 150, 200, seed++);
}

TEST(CudaCompress, LargeGroupsAsOnTheCpu) {
  COPPICE_NEEDS_GPU();
  unsigned seed = 200;
  for (const char* pattern : {"64:2:33", "128:2:100", "32:2:256", "256:2:128"})
    check_pattern(pattern, 300, 600, seed++);
}

TEST(CudaCompress, EveryTail) {
  COPPICE_NEEDS_GPU();
  Random random(3);
  for (const char* spelling : {"2:4", "3:8", "64:2:8", "16:2:16", "vw8/3:8", "bw4x4/2:4"}) {
    const Pattern pattern = Pattern::parse(spelling);
    for (int cols = 1; cols <= 37; ++cols) {
      const Weight w = make_weight(random, 1 + cols % 19, cols, Dtype::bf16, Fill::few_values);
      expect_same(on_gpu(w, pattern, {}), on_cpu(w, pattern, {}),
                  fmt::format("{} with {} columns", spelling, cols));
    }
  }
}

TEST(CudaCompress, EmptyWeights) {
  COPPICE_NEEDS_GPU();
  Random random(4);
  for (const char* spelling : {"2:4", "64:2:8", "vw8/3:8"}) {
    for (const auto& [rows, cols] : {std::pair{0, 8}, {8, 0}, {0, 0}}) {
      const Weight w = make_weight(random, rows, cols, Dtype::f16, Fill::normal);
      expect_same(on_gpu(w, Pattern::parse(spelling), {}), on_cpu(w, Pattern::parse(spelling), {}),
                  spelling);
    }
  }
}

Pattern random_gpu_pattern(Random& random) {
  if (random.chance(0.4)) {
    const int sizes[] = {1, 3, 16, 32, 64, 100};
    return Pattern::make(sizes[random.pick(0, 5)], 1, 4,
                         random.chance(0.7) ? random.pick(5, 12) : random.pick(13, 60), 2);
  }
  for (;;) {
    const Pattern pattern = coppice::testing::random_pattern(random);
    if (!pattern.has_inner()) return pattern;
  }
}

// Odd strides and starts, segments, every kind of pattern.
TEST(CudaCompress, RandomCasesAsOnTheCpu) {
  COPPICE_NEEDS_GPU();
  Random random(5);
  for (int i = 0; i < 1500 && !HasFailure(); ++i) {
    const Pattern pattern = random_gpu_pattern(random);
    const int rows = random.pick(1, 90), cols = random.pick(1, 260);
    const Dtype dtype = kDtypes[random.pick(0, 2)];
    const Fill fill = kFills[random.pick(0, 4)];
    const Weight w =
        make_weight(random, rows, cols, dtype, fill, random.pick(0, 1) * random.pick(0, 9));
    CompressOptions options;
    if (random.chance(0.5)) options.row_segments = random_segments(random, rows);
    if (random.chance(0.5)) options.col_segments = random_segments(random, cols);
    const SparseMatrix gpu = on_gpu(w, pattern, options, random.pick(0, 3));
    expect_same(gpu, on_cpu(w, pattern, options),
                fmt::format("case {}: {} {}x{} {} fill {} segments {}/{}", i, pattern.to_string(),
                            rows, cols, dtype_name(dtype), static_cast<int>(fill),
                            options.row_segments.size(), options.col_segments.size()));
    validate(gpu.view());
  }
}

TEST(CudaCompress, LargeWeightAsOnTheCpu) {
  COPPICE_NEEDS_GPU();
  Random random(6);
  const Weight w = make_weight(random, 1024, 4096, Dtype::bf16, Fill::normal);
  for (const char* spelling : {"2:4", "64:2:8", "128:2:16"})
    expect_same(on_gpu(w, Pattern::parse(spelling), {}), on_cpu(w, Pattern::parse(spelling), {}),
                spelling);
}

TEST(CudaCompress, FromTheHost) {
  COPPICE_NEEDS_GPU();
  Random random(7);
  const Weight w = make_weight(random, 33, 75, Dtype::f32, Fill::normal, 3);
  CompressOptions options;
  options.row_segments = {20, 13};
  expect_same(magnitude_compress(w.view(), Pattern::parse("8:2:8"), options),
              on_cpu(w, Pattern::parse("8:2:8"), options), "8:2:8");
}

TEST(CudaCompress, NamesTheFirstNan) {
  COPPICE_NEEDS_GPU();
  Random random(8);
  for (const char* spelling : {"2:4", "3:8", "9:40", "64:2:8", "16:2:16", "16:2:40", "vw8/3:8"}) {
    for (const Dtype dtype : kDtypes) {
      Weight w = make_weight(random, 40, 80, dtype, Fill::normal);
      const auto size = static_cast<std::size_t>(dtype_bytes(dtype));
      for (const std::size_t at : {7u * 80 + 61, 9u * 80 + 3}) {
        const std::uint32_t nan = from_float(dtype, std::numeric_limits<float>::quiet_NaN());
        std::memcpy(w.bytes.data() + at * size, &nan, size);
      }
      try {
        magnitude_compress(w.view(), Pattern::parse(spelling));
        ADD_FAILURE() << spelling << " took a NaN";
      } catch (const InvalidArgument& error) {
        EXPECT_THAT(error.what(), HasSubstr("row 7, column 61")) << spelling;
      }
    }
  }
}

TEST(CudaCompress, InAGraphAndOnTwoStreams) {
  COPPICE_NEEDS_GPU();
  Random random(9);
  const Weight w = make_weight(random, 256, 512, Dtype::f16, Fill::normal);
  for (const char* spelling : {"2:4", "64:2:8", "64:2:16", "vw32/8:32", "8:32"}) {
    const SparseMatrix cpu = on_cpu(w, Pattern::parse(spelling), {});
    const MagnitudeCompressor compressor(cpu.grid, w.dtype);
    const GpuBytes dense(w.bytes);
    for (int i = 0; i < 2; ++i) {
      const GpuBytes values(cpu.values.size()), columns(cpu.columns.size()),
          metadata(cpu.metadata.size()), other_values(cpu.values.size()),
          other_columns(cpu.columns.size()), other_metadata(cpu.metadata.size());
      const auto bytes = static_cast<std::size_t>(compressor.workspace_bytes());
      const GpuBytes workspace(bytes), other_workspace(bytes);
      cudaStream_t stream, other;
      expect_ok(cudaStreamCreate(&stream));
      expect_ok(cudaStreamCreate(&other));
      cudaGraph_t graph;
      cudaGraphExec_t executable;
      expect_ok(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
      compressor.compress(dense.data(), 0, {values.data(), columns.data(), metadata.data()},
                          workspace.data(), stream);
      expect_ok(cudaStreamEndCapture(stream, &graph));
      expect_ok(cudaGraphInstantiate(&executable, graph, 0));
      expect_ok(cudaGraphLaunch(executable, stream));
      compressor.compress(dense.data(), 0,
                          {other_values.data(), other_columns.data(), other_metadata.data()},
                          other_workspace.data(), other);
      expect_ok(cudaDeviceSynchronize());
      EXPECT_EQ(values.read(), cpu.values) << spelling;
      EXPECT_EQ(columns.read(), cpu.columns) << spelling;
      EXPECT_EQ(metadata.read(), cpu.metadata) << spelling;
      EXPECT_EQ(other_values.read(), cpu.values) << spelling;
      EXPECT_EQ(other_columns.read(), cpu.columns) << spelling;
      EXPECT_EQ(other_metadata.read(), cpu.metadata) << spelling;
      expect_ok(cudaGraphExecDestroy(executable));
      expect_ok(cudaGraphDestroy(graph));
      expect_ok(cudaStreamDestroy(stream));
      expect_ok(cudaStreamDestroy(other));
    }
  }
}

// What the host refuses before it looks for a device.
template <typename Call>
std::string refusal(const Call& call) {
  try {
    call();
  } catch (const InvalidArgument& error) {
    return error.what();
  }
  return "nothing";
}

TEST(CudaCompressArguments, RefusesWhatItCannotDo) {
  const auto grid = [](const char* pattern) {
    return std::make_shared<const Grid>(Pattern::parse(pattern), WeightShape{64, 64, {}, {}});
  };
  EXPECT_THAT(refusal([&] { MagnitudeCompressor(grid("2:4"), Dtype::i8); }),
              HasSubstr("only F16, BF16 and F32"));
  EXPECT_THAT(refusal([&] { MagnitudeCompressor(grid("64:3/6:8"), Dtype::f16); }),
              HasSubstr("keeps 2 of 4 columns"));
  EXPECT_THAT(refusal([&] { MagnitudeCompressor(nullptr, Dtype::f16); }), HasSubstr("grid"));
  const std::vector<float> dense(16);
  CompressOptions options;
  options.input_permutation = {3, 2, 1, 0};
  EXPECT_THAT(
      refusal([&] { magnitude_compress(dense_view(dense, 4, 4), Pattern::parse("2:4"), options); }),
      HasSubstr("permutation"));
}

}  // namespace
}  // namespace coppice::cuda
