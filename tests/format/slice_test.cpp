#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

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

// A part of the dense weight and of its mask.
Case part(const Case& c, std::int64_t row, std::int64_t rows, std::int64_t col, std::int64_t cols) {
  Case out;
  out.pattern = c.pattern;
  out.rows = rows;
  out.cols = cols;
  out.dtype = c.dtype;
  out.mask = Mask(rows, cols);
  const int width = dtype_bytes(c.dtype);
  for (std::int64_t r = 0; r < rows; ++r) {
    const auto from = c.dense.begin() + ((row + r) * c.cols + col) * width;
    out.dense.insert(out.dense.end(), from, from + cols * width);
    for (std::int64_t i = 0; i < cols; ++i)
      if (c.mask.get(row + r, col + i)) out.mask.set(r, i);
  }
  return out;
}

// A random start of a vector or group, or the end.
template <typename Thing>
std::int64_t random_start(Random& random, std::span<const Thing> things, std::int64_t Thing::*start,
                          std::int64_t end) {
  const int at = random.pick(0, static_cast<int>(things.size()));
  return at == std::ssize(things) ? end : things[static_cast<std::size_t>(at)].*start;
}

// The slice says the same as the part of the dense weight, and is what compressing it gives.
void expect_part(const SparseMatrix& slice, const Case& expected) {
  validate(slice.view());
  EXPECT_EQ(slice.own_bytes(),
            slice.grid->own_bytes(expected.dtype) + 4 * std::ssize(slice.input_permutation));
  EXPECT_EQ(decompressed(slice.view()), expected.dense);
  const SparseMatrix again = compress(expected.view(), expected.mask, expected.pattern,
                                      {.row_segments = slice.grid->shape().row_segments,
                                       .col_segments = slice.grid->shape().col_segments,
                                       .input_permutation = slice.input_permutation});
  EXPECT_EQ(slice.values, again.values);
  EXPECT_EQ(slice.columns, again.columns);
  EXPECT_EQ(slice.metadata, again.metadata);
}

TEST(Slice, RowsAreRowsOfTheDenseWeight) {
  Random random(21);
  for (int i = 0; i < 2000 && !HasFailure(); ++i) {
    const Case c = random_case(random);
    SCOPED_TRACE(c.name());
    const SparseMatrix sparse = compress(c.view(), c.mask, c.pattern, c.options);
    const auto vectors = sparse.grid->vectors();
    std::int64_t begin = random_start(random, vectors, &RowVector::row, c.rows);
    std::int64_t end = random_start(random, vectors, &RowVector::row, c.rows);
    if (begin > end) std::swap(begin, end);
    SCOPED_TRACE(::testing::Message() << "rows " << begin << " to " << end);
    expect_part(slice_rows(sparse.view(), begin, end), part(c, begin, end - begin, 0, c.cols));
  }
}

TEST(Slice, ColumnsAreColumnsOfTheDenseWeight) {
  Random random(22);
  for (int i = 0; i < 2000 && !HasFailure(); ++i) {
    const Case c = random_case(random, {.permutation = false});
    SCOPED_TRACE(c.name());
    const SparseMatrix sparse = compress(c.view(), c.mask, c.pattern, c.options);
    const auto groups = sparse.grid->groups();
    std::int64_t begin = random_start(random, groups, &ColumnGroup::col, c.cols);
    std::int64_t end = random_start(random, groups, &ColumnGroup::col, c.cols);
    if (begin > end) std::swap(begin, end);
    SCOPED_TRACE(::testing::Message() << "columns " << begin << " to " << end);
    const SparseMatrix slice = slice_cols(sparse.view(), begin, end);
    const Case expected = part(c, 0, c.rows, begin, end - begin);
    if (c.pattern.has_inner()) {  // fillings of rows and vectors can differ: compare what it says
      validate(slice.view());
      EXPECT_EQ(decompressed(slice.view()), expected.dense);
    } else {
      expect_part(slice, expected);
    }
  }
}

TEST(Slice, OfFullGroupsOfVnmIsWhatCompressingThePartGives) {
  Random random(23);
  for (int i = 0; i < 200 && !HasFailure(); ++i) {
    const Case c = random_case(random, Pattern::parse("16:2:6"), 40, 53,
                               {.underfull = false, .permutation = false, .segments = false});
    SCOPED_TRACE(c.name());
    const SparseMatrix sparse = compress(c.view(), c.mask, c.pattern);
    const std::int64_t begin = 6 * random.pick(0, 4), end = 6 * random.pick(4, 8);
    expect_part(slice_cols(sparse.view(), begin, end), part(c, 0, c.rows, begin, end - begin));
  }
}

TEST(Slice, RefusesOtherPlaces) {
  const std::vector<float> dense(40 * 20);
  const SparseMatrix sparse =
      compress(dense_view(dense, 40, 20), Pattern::parse("vw16/2:8"), {.row_segments = {24, 16}});
  const auto message = [&](auto cut, std::int64_t begin, std::int64_t end) -> std::string {
    try {
      cut(sparse.view(), begin, end);
    } catch (const InvalidArgument& error) {
      return error.what();
    }
    return "sliced";
  };
  EXPECT_EQ(message(slice_rows, 16, 24), "sliced");
  EXPECT_EQ(message(slice_rows, 40, 40), "sliced");
  EXPECT_THAT(message(slice_rows, 0, 32),
              HasSubstr("row 32: it lies in vector 2, which starts at row 24"));
  EXPECT_THAT(message(slice_rows, -1, 16), HasSubstr("rows -1 to 16"));
  EXPECT_THAT(message(slice_rows, 24, 16), HasSubstr("rows 24 to 16"));
  EXPECT_THAT(message(slice_rows, 0, 41), HasSubstr("which has 40"));
  EXPECT_EQ(message(slice_cols, 8, 20), "sliced");
  EXPECT_THAT(message(slice_cols, 8, 18),
              HasSubstr("column 18: it lies in group 2, which starts at column 16"));
  EXPECT_THAT(message(slice_cols, 0, 24), HasSubstr("which has 20"));
  std::vector<std::uint32_t> permutation(20);
  for (std::uint32_t i = 0; i < 20; ++i) permutation[i] = 19 - i;
  const SparseMatrix permuted = compress(dense_view(dense, 40, 20), Pattern::parse("2:4"),
                                         {.input_permutation = permutation});
  EXPECT_THROW(slice_cols(permuted.view(), 0, 4), InvalidArgument);
  EXPECT_EQ(slice_rows(permuted.view(), 3, 5).input_permutation, permutation);
}

}  // namespace
}  // namespace coppice
