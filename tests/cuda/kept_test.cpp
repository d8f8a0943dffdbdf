// Values to their places in a dense weight on the device and back, against the same on the host.
#include <gtest/gtest.h>

#include <algorithm>

#include "coppice/cuda_gradient.h"
#include "coppice/error.h"
#include "cuda/gpu.h"

namespace coppice::cuda {
namespace {

constexpr Dtype kDtypes[] = {Dtype::f32, Dtype::f16, Dtype::bf16};

std::size_t bytes_of(std::int64_t count, Dtype dtype) {
  return static_cast<std::size_t>(count * dtype_bytes(dtype));
}

std::vector<std::byte> bytes_in(const std::vector<float>& values, Dtype dtype) {
  std::vector<std::byte> bytes(bytes_of(std::ssize(values), dtype));
  from_float(dtype, values, bytes.data());
  return bytes;
}

// What a value of one dtype becomes in another: rounded twice.
std::vector<std::byte> converted(std::vector<float> values, Dtype from, Dtype to) {
  to_float(from, bytes_in(values, from).data(), values);
  return bytes_in(values, to);
}

// Columns of a row in any order, as an input permutation makes them.
std::vector<std::uint16_t> random_columns(cpu::Random& random, std::int64_t rows, std::int64_t cols,
                                          std::int64_t kept) {
  std::vector<std::uint16_t> all(static_cast<std::size_t>(cols)), columns;
  for (std::size_t c = 0; c < all.size(); ++c) all[c] = static_cast<std::uint16_t>(c);
  for (std::int64_t r = 0; r < rows; ++r) {
    std::ranges::shuffle(all, random);
    columns.insert(columns.end(), all.begin(), all.begin() + kept);
  }
  return columns;
}

void check(std::int64_t rows, std::int64_t cols, std::int64_t kept) {
  SCOPED_TRACE(testing::Message() << kept << " of " << rows << " x " << cols);
  cpu::Random random(static_cast<std::uint64_t>(rows + 31 * cols + 1009 * kept));
  const std::vector<std::uint16_t> columns = random_columns(random, rows, cols, kept);
  std::vector<std::byte> column_bytes(columns.size() * 2);
  if (!columns.empty()) std::memcpy(column_bytes.data(), columns.data(), column_bytes.size());
  const GpuBytes index(column_bytes);
  const KeptDeviceView view{reinterpret_cast<const std::uint16_t*>(index.data()), rows, cols, kept};
  const std::vector<float> values = cpu::random_floats(random, rows * kept);
  for (const Dtype from : kDtypes)
    for (const Dtype to : kDtypes) {
      SCOPED_TRACE(testing::Message() << dtype_name(from) << " to " << dtype_name(to));
      const GpuBytes input(bytes_in(values, from)), dense(bytes_of(rows * cols, to));
      scatter_kept(view, input.data(), from, dense.data(), to);
      const std::vector<std::byte> small = converted(values, from, to);
      std::vector<std::byte> want(bytes_of(rows * cols, to), std::byte{0});
      const auto size = static_cast<std::size_t>(dtype_bytes(to));
      for (std::int64_t r = 0; r < rows; ++r)
        for (std::int64_t k = r * kept; k < (r + 1) * kept; ++k) {
          const auto i = static_cast<std::size_t>(k);
          std::copy_n(small.begin() + static_cast<std::ptrdiff_t>(i * size), size,
                      want.begin() + static_cast<std::ptrdiff_t>(
                                         (static_cast<std::size_t>(r * cols) + columns[i]) * size));
        }
      EXPECT_TRUE(dense.read() == want);
      const GpuBytes back(bytes_of(rows * kept, from));
      gather_kept(view, dense.data(), to, back.data(), from);
      std::vector<float> rounded(values.size());
      to_float(to, small.data(), rounded);
      EXPECT_TRUE(back.read() == bytes_in(rounded, from));
    }
}

TEST(CudaKept, ThereAndBack) {
  COPPICE_NEEDS_GPU();
  for (const auto& [rows, cols, kept] : {std::array<std::int64_t, 3>{1, 1, 1},
                                         {3, 7, 2},
                                         {0, 8, 2},
                                         {5, 8, 0},
                                         {70, 90, 24},
                                         {33, 4096, 1024},
                                         {9, 1001, 333},
                                         {2, 20000, 5000},
                                         {2, 65536, 16},
                                         {1, 40001, 40001}})
    check(rows, cols, kept);
}

TEST(CudaKept, RefusesWhatDoesNotFit) {
  alignas(16) std::byte memory[64] = {};
  const auto* columns = reinterpret_cast<const std::uint16_t*>(memory);
  const KeptDeviceView view{columns, 1, 4, 2};
  const auto scatter = [&](const KeptDeviceView& kept, const std::byte* values, Dtype dtype,
                           std::byte* dense) {
    scatter_kept(kept, values, dtype, dense, Dtype::f32);
  };
  EXPECT_THROW(scatter({columns, 1, 4, 5}, memory, Dtype::f32, memory), InvalidArgument);
  EXPECT_THROW(scatter({columns, 1, 65537, 5}, memory, Dtype::f32, memory), InvalidArgument);
  EXPECT_THROW(scatter({nullptr, 1, 4, 2}, memory, Dtype::f32, memory), InvalidArgument);
  EXPECT_THROW(scatter(view, nullptr, Dtype::f32, memory), InvalidArgument);
  EXPECT_THROW(scatter(view, memory, Dtype::i8, memory), InvalidArgument);
  EXPECT_THROW(scatter(view, memory + 1, Dtype::f32, memory), InvalidArgument);
  EXPECT_THROW(scatter(view, memory, Dtype::f32, memory + 8), InvalidArgument);
  EXPECT_THROW(gather_kept(view, nullptr, Dtype::f32, memory, Dtype::f32), InvalidArgument);
}

}  // namespace
}  // namespace coppice::cuda
