#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>

#include "coppice/error.h"
#include "coppice/sparse_matrix.h"
#include "format/random_case.h"

namespace coppice {
namespace {

using testing::Case;
using testing::decompressed;
using ::testing::HasSubstr;
using testing::Random;
using testing::random_case;

SparseMatrix compress(const Case& c, int threads = 1) {
  CompressOptions options = c.options;
  options.threads = threads;
  return coppice::compress(c.view(), c.mask, c.pattern, options);
}

void expect_equal(const SparseMatrix& a, const SparseMatrix& b) {
  EXPECT_EQ(a.grid->shape(), b.grid->shape());
  EXPECT_EQ(a.grid->pattern(), b.grid->pattern());
  EXPECT_EQ(a.dtype, b.dtype);
  EXPECT_EQ(a.values, b.values);
  EXPECT_EQ(a.columns, b.columns);
  EXPECT_EQ(a.metadata, b.metadata);
  EXPECT_EQ(a.input_permutation, b.input_permutation);
}

std::string message_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const InvalidArgument& error) {
    return error.what();
  }
  return "nothing was thrown";
}

TEST(Compress, IsTheCanonicalFormAndComesBackBitForBit) {
  Random random(1);
  for (int i = 0; i < 4000 && !HasFailure(); ++i) {
    const Case c = random_case(random);
    SCOPED_TRACE(c.name());
    const SparseMatrix sparse = compress(c);
    expect_equal(sparse, testing::reference_compress(c));
    EXPECT_EQ(sparse.own_bytes(),
              sparse.grid->own_bytes(c.dtype) + 4 * std::ssize(c.options.input_permutation));
    EXPECT_NO_THROW(validate(sparse.view()));
    EXPECT_EQ(decompressed(sparse.view()), c.dense);
  }
}

TEST(Compress, AgainFromItsStoredPositionsIsTheSame) {
  Random random(2);
  for (int i = 0; i < 1500 && !HasFailure(); ++i) {
    const Case c = random_case(random);
    SCOPED_TRACE(c.name());
    const SparseMatrix sparse = compress(c);
    Case again = c;
    again.dense = decompressed(sparse.view());
    again.mask = stored_mask(sparse.view());
    EXPECT_EQ(again.mask.count(), sparse.grid->kept() * c.rows);
    expect_equal(compress(again), sparse);
    for (std::int64_t r = 0; r < c.rows; ++r)
      for (std::int64_t col = 0; col < c.cols; ++col)
        ASSERT_LE(c.mask.get(r, col), again.mask.get(r, col));
  }
}

TEST(Compress, DoesNotDependOnThreads) {
  Random random(3);
  for (int i = 0; i < 150 && !HasFailure(); ++i) {
    const Case c = random_case(random);
    SCOPED_TRACE(c.name());
    const SparseMatrix one = compress(c);
    for (int threads : {2, 3, 32}) {
      expect_equal(compress(c, threads), one);
      EXPECT_EQ(decompressed(one.view(), threads), c.dense);
      EXPECT_NO_THROW(validate(one.view(), threads));
    }
  }
}

TEST(Compress, WithoutAMaskTakesWhatIsNotZero) {
  Random random(4);
  for (int i = 0; i < 800 && !HasFailure(); ++i) {
    const Case c = random_case(random, {.nonzero = true});
    SCOPED_TRACE(c.name());
    CompressOptions options = c.options;
    options.threads = random.pick(1, 3);
    expect_equal(coppice::compress(c.view(), c.pattern, options), compress(c));
  }
}

TEST(Compress, MinusZeroIsAZeroUnlessTheMaskKeepsIt) {
  std::vector<float> dense = {-0.0f, 1, 0, 2, 3, -0.0f, -0.0f, 0};
  const DenseView view = dense_view(dense, 1, 8);
  const Pattern pattern = Pattern::parse("2:4");
  SparseMatrix sparse = coppice::compress(view, pattern);
  // The second group keeps column 4 and is filled with column 5, as +0.
  const std::vector<float> expected = {1, 2, 3, 0};
  ASSERT_EQ(sparse.values.size(), 16u);
  EXPECT_EQ(std::memcmp(sparse.values.data(), expected.data(), 16), 0);

  Mask mask(1, 8);
  mask.set(0, 0);
  mask.set(0, 6);
  sparse = coppice::compress(view, mask, pattern);
  std::vector<float> out(8, 7);
  decompress(sparse.view(), {reinterpret_cast<std::byte*>(out.data()), Dtype::f32, 1, 8, 0});
  EXPECT_TRUE(std::signbit(out[0]));
  EXPECT_TRUE(std::signbit(out[6]));
  EXPECT_FALSE(std::signbit(out[5]));
  EXPECT_EQ(out[1], 0);
}

TEST(Compress, TheLowestInt8IsNotAZero) {
  std::vector<std::int8_t> dense = {-128, 0, 0, 1};
  const DenseView view{reinterpret_cast<const std::byte*>(dense.data()), Dtype::i8, 1, 4, 0};
  const SparseMatrix sparse = coppice::compress(view, Pattern::parse("2:4"));
  EXPECT_EQ(sparse.values, (std::vector{std::byte{0x80}, std::byte{1}}));
}

TEST(Compress, KeepsNanPayloadsAndInfinities) {
  const std::uint32_t bits[] = {0x7fc12345, 0, 0, 0xff800001, 0, 0x7f800000, 0xffc00000, 0};
  std::vector<std::byte> dense(sizeof bits);
  std::memcpy(dense.data(), bits, sizeof bits);
  const SparseMatrix sparse =
      coppice::compress(DenseView{dense.data(), Dtype::f32, 1, 8, 0}, Pattern::parse("2:4"));
  EXPECT_EQ(decompressed(sparse.view()), dense);
}

TEST(Compress, ReadsAndWritesRowsWithAStride) {
  Random random(5);
  for (int i = 0; i < 100; ++i) {
    const Case c = random_case(random);
    SCOPED_TRACE(c.name());
    const int width = dtype_bytes(c.dtype);
    const std::int64_t stride = c.cols + random.pick(1, 5);
    std::vector<std::byte> wide(static_cast<std::size_t>(c.rows * stride * width), std::byte{0x5a});
    for (std::int64_t r = 0; r < c.rows; ++r)
      std::copy_n(c.dense.begin() + r * c.cols * width, c.cols * width,
                  wide.begin() + r * stride * width);
    const SparseMatrix sparse = coppice::compress(
        DenseView{wide.data(), c.dtype, c.rows, c.cols, stride}, c.mask, c.pattern, c.options);
    expect_equal(sparse, compress(c));
    std::vector<std::byte> out(wide.size(), std::byte{0x5a});
    decompress(sparse.view(), {out.data(), c.dtype, c.rows, c.cols, stride});
    EXPECT_EQ(out, wide);  // what lies between the rows is untouched
  }
}

TEST(Compress, NamesTheFirstPlaceThatBreaksThePattern) {
  Mask mask(70, 20);
  for (int col : {8, 9, 10}) mask.set(66, col);
  for (int col : {0, 1, 2}) mask.set(69, col);
  const std::vector<float> zeros(70 * 20);
  const DenseView dense = dense_view(zeros, 70, 20);
  const auto message = [&](const char* pattern, int threads) {
    return message_of(
        [&] { coppice::compress(dense, mask, Pattern::parse(pattern), {.threads = threads}); });
  };
  for (int threads : {1, 2, 5}) {
    EXPECT_THAT(message("2:4", threads),
                HasSubstr("mask breaks 2:4: row 66, group 2 (columns 8 to 11) keeps 3 weights, "
                          "at most 2 fit"));
    EXPECT_THAT(message("2:8", threads),
                HasSubstr("row 66, group 1 (columns 8 to 15) keeps 3 weights, at most 2 fit"));
    EXPECT_THAT(message("vw64/2:8", threads),
                HasSubstr("vector 1 (rows 64 to 69), group 0 (columns 0 to 7) keeps 3 columns"));
    EXPECT_THAT(message("bw64x2/1:2", threads),
                HasSubstr("vector 1 (rows 64 to 69), group 0 (columns 0 to 3) keeps 2 blocks"));
    EXPECT_THAT(message("64:2:8", threads), HasSubstr("row 66, group 1"));
  }
  std::vector<float> weights(70 * 20);
  for (int col : {8, 9, 10}) weights[static_cast<std::size_t>(66 * 20 + col)] = 1;
  EXPECT_THAT(
      message_of([&] { coppice::compress(dense_view(weights, 70, 20), Pattern::parse("2:4")); }),
      HasSubstr("weight breaks 2:4: row 66"));
}

TEST(Compress, RefusesEveryMaskWithOneWeightTooMany) {
  Random random(6);
  int broken = 0;
  for (int i = 0; i < 1500; ++i) {
    Case c = random_case(random, {.underfull = false});
    if (c.rows * c.cols == 0 || c.pattern.is_dense()) continue;
    const std::int64_t row = random.pick(0, static_cast<int>(c.rows) - 1);
    const std::int64_t col = random.pick(0, static_cast<int>(c.cols) - 1);
    if (c.mask.get(row, col)) continue;
    c.mask.set(row, col);  // all groups are full, so any further weight is one too many
    SCOPED_TRACE(c.name());
    EXPECT_THAT(message_of([&] { compress(c); }), HasSubstr("group"));
    ++broken;
  }
  EXPECT_GT(broken, 300);
}

TEST(Compress, RefusesArgumentsThatDoNotFit) {
  std::vector<float> weights(32, 0.0f);
  const DenseView dense = dense_view(weights, 4, 8);
  const Pattern pattern = Pattern::parse("2:4");
  EXPECT_THAT(message_of([&] { coppice::compress(dense, Mask(4, 7), pattern); }),
              HasSubstr("mask is 4 x 7, needs the weight's 4 x 8"));
  DenseView wrong = dense;
  wrong.dtype = Dtype::f64;
  EXPECT_THAT(message_of([&] { coppice::compress(wrong, pattern); }), HasSubstr("F64"));
  wrong = dense;
  wrong.row_stride = 7;
  EXPECT_THAT(message_of([&] { coppice::compress(wrong, pattern); }),
              HasSubstr("7 elements apart"));
  wrong = dense;
  wrong.data = nullptr;
  EXPECT_THAT(message_of([&] { coppice::compress(wrong, pattern); }), HasSubstr("no data"));
  wrong = dense;
  wrong.rows = -1;
  EXPECT_THAT(message_of([&] { coppice::compress(wrong, pattern); }), HasSubstr("0 or more"));
  EXPECT_THROW(coppice::compress(dense, pattern, {.col_segments = {4}}), InvalidArgument);
  const auto permuted = [&](std::vector<std::uint32_t> permutation) {
    return message_of(
        [&] { coppice::compress(dense, pattern, {.input_permutation = std::move(permutation)}); });
  };
  EXPECT_THAT(permuted({0, 1, 2}), HasSubstr("3 entries"));
  EXPECT_THAT(permuted({0, 1, 2, 3, 4, 5, 6, 8}), HasSubstr("input_permutation[7] is 8"));
  EXPECT_THAT(permuted({0, 1, 2, 3, 4, 5, 0, 7}), HasSubstr("input_permutation[6] is 0"));
}

TEST(Decompress, RefusesAnOutputThatDoesNotFit) {
  const std::vector<float> weights(32, 0.0f);
  const SparseMatrix sparse = coppice::compress(dense_view(weights, 4, 8), Pattern::parse("2:4"));
  std::vector<std::byte> out(128);
  EXPECT_THROW(decompress(sparse.view(), {out.data(), Dtype::f32, 8, 4, 0}), InvalidArgument);
  EXPECT_THROW(decompress(sparse.view(), {out.data(), Dtype::f16, 4, 8, 0}), InvalidArgument);
  EXPECT_THROW(decompress(sparse.view(), {nullptr, Dtype::f32, 4, 8, 0}), InvalidArgument);
  SparseMatrix cut = sparse;
  cut.values.pop_back();
  EXPECT_THROW(decompress(cut.view(), {out.data(), Dtype::f32, 4, 8, 0}), InvalidArgument);
}

TEST(Compress, WeightsWithoutElements) {
  for (const char* text : {"dense", "2:4", "2:8", "vw32/8:32", "bw4x4/8:32", "64:2:8"}) {
    for (auto [rows, cols] : {std::pair{0, 0}, {0, 9}, {9, 0}}) {
      const SparseMatrix sparse = coppice::compress(DenseView{nullptr, Dtype::bf16, rows, cols, 0},
                                                    Mask(rows, cols), Pattern::parse(text));
      EXPECT_EQ(sparse.own_bytes(), 0);
      validate(sparse.view(), 2);
      decompress(sparse.view(), {nullptr, Dtype::bf16, rows, cols, 0});
      EXPECT_EQ(stored_mask(sparse.view()), Mask(rows, cols));
    }
  }
}

}  // namespace
}  // namespace coppice
