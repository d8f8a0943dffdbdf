// Compressed weights in a file of their own.
#include "coppice/sparse_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

#include "coppice/error.h"
#include "coppice/safetensors.h"
#include "files.h"
#include "format/random_case.h"

namespace coppice {
namespace {

using testing::Case;
using Views = std::map<std::string, SparseView, std::less<>>;

SparseMatrix compressed(const Case& one) {
  return compress(one.view(), one.mask, one.pattern, one.options);
}

TEST(SparseFile, RandomWeightsComeBack) {
  testing::TempDir directory;
  const auto path = directory / "weights.safetensors";
  testing::Random random(11);
  for (int round = 0; round < 50; ++round) {
    std::map<std::string, SparseMatrix> written;
    Views views;
    for (int i = 0; i < 3; ++i) {
      SparseMatrix sparse = compressed(testing::random_case(random));
      const WeightShape& shape = sparse.grid->shape();
      const bool fits = std::ssize(shape.row_segments) <= shape.rows &&
                        std::ssize(shape.col_segments) <= shape.cols;
      if (!fits)
        EXPECT_THROW(write_sparse(path, {{"w", sparse.view()}}), InvalidArgument);
      else if (shape.rows > 0 && shape.cols > 0)
        written.emplace("weight " + std::to_string(i), std::move(sparse));
    }
    for (const auto& [name, sparse] : written) views.emplace(name, sparse.view());
    write_sparse(path, views);
    const auto read = read_sparse(path);
    ASSERT_EQ(read.size(), written.size());
    for (const auto& [name, sparse] : written) {
      const SparseMatrix& again = read.at(name);
      EXPECT_EQ(again.pattern(), sparse.pattern());
      EXPECT_EQ(again.grid->shape(), sparse.grid->shape());
      EXPECT_EQ(again.dtype, sparse.dtype);
      EXPECT_EQ(again.values, sparse.values);
      EXPECT_EQ(again.columns, sparse.columns);
      EXPECT_EQ(again.metadata, sparse.metadata);
      EXPECT_EQ(again.input_permutation, sparse.input_permutation);
    }
  }
}

TEST(SparseFile, RefusesOtherFilesAndEmptyWeights) {
  testing::TempDir directory;
  const auto path = directory / "weights.safetensors";
  SafetensorsWriter(path, {{"w", Dtype::u8, {0}}}).commit();
  try {
    read_sparse(path);
    FAIL();
  } catch (const FileError& error) {
    EXPECT_THAT(error.what(), ::testing::HasSubstr(path.string()));
  }
  EXPECT_THROW(read_sparse(directory / "absent"), FileError);
  const SparseMatrix empty =
      compress({nullptr, Dtype::f32, 0, 8, 0}, Pattern::parse("2:4"), CompressOptions{});
  EXPECT_THROW(write_sparse(path, {{"w", empty.view()}}), InvalidArgument);
}

// Every single byte of the header changed: an error of ours, or weights that are valid.
TEST(SparseFile, DamagedHeadersAreRefusedOrHarmless) {
  testing::TempDir directory;
  const auto path = directory / "weights.safetensors";
  testing::Random random(3);
  const std::vector<float> dense(64 * 24, 0.0F);
  const SparseMatrix sparse =
      compress(dense_view(dense, 64, 24), Pattern::parse("64:2:8"), CompressOptions{});
  write_sparse(path, {{"w", sparse.view()}});
  const std::string good = testing::read_file(path);
  for (std::size_t at = 8; at < good.find('\0', 8); ++at) {
    std::string bad = good;
    bad[at] = static_cast<char>(random.pick(32, 126));
    testing::write_file(path, bad);
    try {
      for (const auto& [name, read] : read_sparse(path)) validate(read.view());
    } catch (const FileError&) {
    }
  }
}

}  // namespace
}  // namespace coppice
