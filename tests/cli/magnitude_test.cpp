// Pruning and packing on a GPU give the CPU's bytes: what that rests on, and, with a GPU, the thing
// itself.
#include "magnitude.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <random>

namespace coppice::cli {
namespace {

constexpr const char* kPatterns[] = {"2:4",    "1:4",    "4:8",    "vw8/3:8", "bw4x4/8:32",
                                     "16:2:8", "64:2:8", "64:2:5", "32:2:16", "64:2:40"};
constexpr Dtype kDtypes[] = {Dtype::f32, Dtype::f16, Dtype::bf16};

struct Weight {
  std::int64_t rows = 0, cols = 0;
  Dtype dtype = Dtype::f32;
  std::vector<std::byte> bytes;
  DenseView view() const { return {bytes.data(), dtype, rows, cols, cols}; }
  MutableDenseView edit() { return {bytes.data(), dtype, rows, cols, cols}; }
};

// Few values, many zeros of both signs: ties everywhere.
Weight random_weight(std::mt19937& random, Dtype dtype, bool coarse) {
  Weight w{static_cast<std::int64_t>(1 + random() % 150),
           static_cast<std::int64_t>(1 + random() % 150),
           dtype,
           {}};
  std::vector<float> values(static_cast<std::size_t>(w.rows * w.cols));
  std::normal_distribution<float> normal;
  for (float& value : values) {
    value = coarse ? static_cast<float>(static_cast<int>(random() % 5) - 2) : normal(random);
    if (random() % 3 == 0) value = random() % 2 == 0 ? 0.0f : -0.0f;
  }
  w.bytes.resize(values.size() * static_cast<std::size_t>(dtype_bytes(dtype)));
  from_float(dtype, values, w.bytes.data());
  return w;
}

void expect_same(const SparseMatrix& a, const SparseMatrix& b, const char* pattern) {
  EXPECT_EQ(a.values, b.values) << pattern;
  EXPECT_EQ(a.columns, b.columns) << pattern;
  EXPECT_EQ(a.metadata, b.metadata) << pattern;
}

// The GPU hands back compressed weights; the mask they store must prune as the CPU's mask does.
TEST(Magnitude, StoredMasksPruneAlike) {
  std::mt19937 random(1);
  for (const char* name : kPatterns)
    for (Dtype dtype : kDtypes) {
      const Pattern pattern = Pattern::parse(name);
      Weight a = random_weight(random, dtype, true), b = a;
      const Mask mask = magnitude_mask(a.view(), pattern).mask;
      const SparseMatrix sparse = compress(a.view(), mask, pattern);
      apply_mask(a.edit(), mask);
      apply_mask(b.edit(), stored_mask(sparse.view()));
      EXPECT_EQ(a.bytes, b.bytes) << name;
    }
}

// Packing a pruned weight is choosing its largest weights, up to the sign of zeros.
TEST(Magnitude, ChoosesWhatPackingFillsUp) {
  std::mt19937 random(2);
  for (int turn = 0; turn < 60; ++turn)
    for (const char* name : kPatterns) {
      const Pattern pattern = Pattern::parse(name);
      Weight w = random_weight(random, Dtype::f32, turn % 2 == 0);
      apply_mask(w.edit(), magnitude_mask(w.view(), pattern).mask);
      SparseMatrix largest = compress(w.view(), magnitude_mask(w.view(), pattern).mask, pattern);
      for (std::size_t i = 0; i < largest.values.size(); i += 4) {
        float value;
        std::memcpy(&value, largest.values.data() + i, 4);
        if (value == 0) std::memset(largest.values.data() + i, 0, 4);
      }
      expect_same(largest, compress(w.view(), pattern), name);
    }
}

TEST(Magnitude, OnTheCpuItIsTheLibrary) {
  std::mt19937 random(3);
  MagnitudeEngine engine(Device::cpu, false);
  const Pattern pattern = Pattern::parse("16:2:8");
  Weight w = random_weight(random, Dtype::f32, false);
  const MaskResult ours = engine.mask(w.view(), pattern, {}),
                   plain = magnitude_mask(w.view(), pattern);
  EXPECT_EQ(ours.kept_score, plain.kept_score);
  apply_mask(w.edit(), ours.mask);
  expect_same(engine.pack(w.view(), pattern, {}), compress(w.view(), pattern), "16:2:8");
}

TEST(Magnitude, OnTheGpuItGivesTheSameBytes) {
  if (usable_gpus() == 0) {
    ASSERT_EQ(std::getenv("COPPICE_REQUIRE_GPU"), nullptr) << "no usable GPU";
    GTEST_SKIP() << "no usable GPU";
  }
  std::mt19937 random(4);
  MagnitudeEngine engine(Device::cuda, true);
  for (int turn = 0; turn < 6; ++turn)
    for (const char* name : kPatterns)
      for (Dtype dtype : kDtypes) {
        const Pattern pattern = Pattern::parse(name);
        Weight a = random_weight(random, dtype, turn % 2 == 0), b = a;
        const MaskResult gpu = engine.mask(a.view(), pattern, {});
        const MaskResult cpu = magnitude_mask(b.view(), pattern);
        EXPECT_NEAR(gpu.total_score, cpu.total_score, 1e-9 * cpu.total_score) << name;
        EXPECT_NEAR(gpu.kept_score, cpu.kept_score, 1e-9 * cpu.total_score) << name;
        EXPECT_EQ(gpu.blocks, cpu.blocks) << name;
        apply_mask(a.edit(), gpu.mask);
        apply_mask(b.edit(), cpu.mask);
        ASSERT_EQ(a.bytes, b.bytes) << name;
        expect_same(engine.pack(a.view(), pattern, {}), compress(a.view(), pattern), name);
      }
}

// Sums in which small weights vanish: packing must lose none of them, on whatever device.
TEST(Magnitude, TinyWeightsBesideHugeOnesAreKept) {
  const Device device = usable_gpus() > 0 ? Device::cuda : Device::cpu;
  MagnitudeEngine engine(device, true);
  const Pattern pattern = Pattern::parse("2:2:8");
  // Row 0 keeps columns 4 and 5, row 1 keeps 6 and 7; without 7 the sum would be the same.
  std::vector<float> w(16);
  w[4] = w[5] = w[8 + 6] = 1e30f;
  w[8 + 7] = 1e-30f;
  const DenseView dense = dense_view(w, 2, 8);
  expect_same(engine.pack(dense, pattern, {}), compress(dense, pattern), "2:2:8");
}

}  // namespace
}  // namespace coppice::cli
