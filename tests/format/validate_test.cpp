#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "coppice/error.h"
#include "coppice/sparse_matrix.h"
#include "format/random_case.h"

namespace coppice {
namespace {

using testing::Case;
using ::testing::HasSubstr;
using testing::Random;
using testing::random_case;

std::string fault(const SparseMatrix& sparse, int threads = 1) {
  try {
    validate(sparse.view(), threads);
  } catch (const InvalidArgument& error) {
    return error.what();
  }
  return "valid";
}

SparseMatrix zeros(const char* pattern, std::int64_t rows, std::int64_t cols) {
  const std::vector<float> dense(static_cast<std::size_t>(rows * cols));
  return compress(dense_view(dense, rows, cols), Pattern::parse(pattern));
}

TEST(Validate, NamesWrongSizes) {
  for (const char* pattern : {"2:4", "2:8", "64:2:8"}) {
    SparseMatrix sparse = zeros(pattern, 6, 16);
    sparse.values.pop_back();
    EXPECT_THAT(fault(sparse), HasSubstr("values has"));
  }
  SparseMatrix sparse = zeros("64:2:8", 6, 16);
  sparse.columns.push_back({});
  EXPECT_THAT(fault(sparse),
              HasSubstr("columns has 3 bytes, a weight of 6 x 16 in 64:2:8 needs 2"));
  sparse = zeros("64:2:8", 6, 16);
  sparse.metadata.clear();
  EXPECT_THAT(fault(sparse), HasSubstr("metadata has 0 bytes"));
  sparse = zeros("2:4", 6, 16);
  sparse.columns.push_back({});  // 2:4 has none
  EXPECT_THAT(fault(sparse), HasSubstr("columns has 1 bytes"));
  sparse = zeros("2:4", 6, 16);
  sparse.dtype = Dtype::f64;
  EXPECT_THAT(fault(sparse), HasSubstr("F64"));
  sparse.grid = nullptr;
  EXPECT_THAT(fault(sparse), HasSubstr("without a grid"));
}

TEST(Validate, NamesTheFirstWrongIndex) {
  // 2:6: 3 bits an index, so 6 and 7 are out of range. 12 bits a row, 4 unused.
  SparseMatrix sparse = zeros("2:6", 9, 12);
  ASSERT_EQ(sparse.columns.size(), 18u);
  EXPECT_EQ(fault(sparse), "valid");
  sparse.columns[2 * 8 + 1] |= std::byte{0x80};
  for (int threads : {1, 4})
    EXPECT_THAT(fault(sparse, threads), HasSubstr("columns: vector 8 has unused bits"));
  sparse.columns[2 * 7] = std::byte{0x3e};  // 6, 7
  for (int threads : {1, 4})
    EXPECT_THAT(fault(sparse, threads), HasSubstr("columns: vector 7, group 0 has index 6, needs "
                                                  "less than 6"));
  sparse.columns[2 * 4] = std::byte{0x0c};  // 4, 1
  for (int threads : {1, 4})
    EXPECT_THAT(fault(sparse, threads), HasSubstr("vector 4, group 0 has index 1 after 4"));
  sparse.columns[2 * 3] = std::byte{0x12};  // 2, 2
  EXPECT_THAT(fault(sparse), HasSubstr("vector 3, group 0 has index 2 after 2"));
}

TEST(Validate, NamesTheFirstWrongBitmaskAndMetadata) {
  SparseMatrix sparse = zeros("64:2:8", 70, 16);
  ASSERT_EQ(sparse.columns.size(), 4u);
  sparse.metadata[20] = std::byte{0x04 | 0x40};  // group 1: 0, 1 is 0x4; stays valid
  EXPECT_EQ(fault(sparse), "valid");
  sparse.metadata[20] = std::byte{0x04 | 0x10};  // group 1: 1, 0
  EXPECT_THAT(fault(sparse), HasSubstr("metadata: row 20, group 1 has index 0 after 1"));
  sparse.columns[3] = std::byte{0x1f};
  EXPECT_THAT(fault(sparse), HasSubstr("columns: vector 1, group 1 keeps 5 of 8, needs 4"));
}

TEST(Validate, NamesAWrongPermutation) {
  const std::vector<float> dense(16);
  SparseMatrix sparse =
      compress(dense_view(dense, 4, 4), Pattern::parse("2:4"), {.input_permutation = {3, 1, 0, 2}});
  EXPECT_EQ(fault(sparse), "valid");
  sparse.input_permutation[2] = 1;
  EXPECT_THAT(fault(sparse), HasSubstr("input_permutation[2] is 1"));
  sparse.input_permutation[2] = 4;
  EXPECT_THAT(fault(sparse), HasSubstr("input_permutation[2] is 4"));
  sparse.input_permutation.pop_back();
  EXPECT_THAT(fault(sparse), HasSubstr("3 entries"));
}

// A damaged weight is either refused, or valid: it can be used, and says the same when compressed
// again.
TEST(Validate, FindsEveryFlippedBitThatMatters) {
  Random random(11);
  int refused = 0, accepted = 0;
  for (int i = 0; i < 3000 && !HasFailure(); ++i) {
    const Case c = random_case(random);
    SparseMatrix sparse = compress(c.view(), c.mask, c.pattern, c.options);
    auto& array = random.chance(0.5) && !sparse.columns.empty() ? sparse.columns : sparse.metadata;
    if (array.empty()) continue;
    for (int flips = random.pick(1, 3); flips > 0; --flips) {
      const int bit = random.pick(0, static_cast<int>(array.size()) * 8 - 1);
      array[static_cast<std::size_t>(bit / 8)] ^= std::byte{1} << (bit % 8);
    }
    SCOPED_TRACE(c.name());
    if (fault(sparse, random.pick(1, 3)) != "valid") {
      ++refused;
      continue;
    }
    ++accepted;
    const std::vector<std::byte> dense = testing::decompressed(sparse.view());
    const SparseMatrix again = compress(DenseView{dense.data(), c.dtype, c.rows, c.cols, 0},
                                        stored_mask(sparse.view()), c.pattern, c.options);
    EXPECT_EQ(testing::decompressed(again.view()), dense);
    if (c.pattern.has_inner()) continue;  // a live column that no row uses is not found again
    EXPECT_EQ(again.values, sparse.values);
    EXPECT_EQ(again.columns, sparse.columns);
    EXPECT_EQ(again.metadata, sparse.metadata);
  }
  EXPECT_GT(refused, 500);
  EXPECT_GT(accepted, 50);
}

}  // namespace
}  // namespace coppice
