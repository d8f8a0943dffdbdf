// The examples of docs/format.md, byte by byte.
#include <gtest/gtest.h>

#include <initializer_list>
#include <vector>

#include "coppice/sparse_matrix.h"

namespace coppice {
namespace {

std::vector<std::byte> bytes(std::initializer_list<int> list) {
  std::vector<std::byte> out;
  for (int value : list) out.push_back(static_cast<std::byte>(value));
  return out;
}

TEST(FormatDoc, Vnm) {
  const std::vector<std::int8_t> dense = {
      0,    5, 0, 0, 0, 0, -3, 0, 7, 0,  //
      0,    0, 4, 0, 0, 0, 9,  0, 1, 2,  //
      -128, 0, 0, 0, 0, 0, 0,  0, 0, 0,  //
  };
  const DenseView view{reinterpret_cast<const std::byte*>(dense.data()), Dtype::i8, 3, 10, 0};
  const SparseMatrix sparse = compress(view, Pattern::parse("2:2:8"));
  EXPECT_EQ(sparse.values, bytes({5, 0xfd, 7, 0, 4, 9, 1, 2, 0x80, 0, 0, 0}));
  EXPECT_EQ(sparse.columns, bytes({0x47, 0x03, 0x0f, 0x03}));
  EXPECT_EQ(sparse.metadata, bytes({0x4d, 0x4e, 0x44}));
}

TEST(FormatDoc, ElementWise) {
  const std::vector<std::uint16_t> dense = {0, 0, 0, 0x3f80, 0, 0, 0, 0xc000, 0, 0x3f00};
  const DenseView view{reinterpret_cast<const std::byte*>(dense.data()), Dtype::bf16, 1, 10, 0};
  const SparseMatrix sparse = compress(view, Pattern::parse("2:8"));
  EXPECT_EQ(sparse.values, bytes({0x80, 0x3f, 0x00, 0xc0, 0x00, 0x00, 0x00, 0x3f}));
  EXPECT_EQ(sparse.columns, bytes({0x3b, 0x02}));
  EXPECT_TRUE(sparse.metadata.empty());
}

// The table of choices.
TEST(FormatDoc, FormsOfChoices) {
  const auto bits = [](int kept, int of) { return choice_code(kept, of).size(kept, of); };
  EXPECT_EQ(bits(2, 4), 4);
  EXPECT_EQ(bits(2, 8), 6);
  EXPECT_EQ(bits(4, 8), 8);
  EXPECT_EQ(bits(8, 32), 32);
  EXPECT_EQ(bits(4, 32), 20);
  EXPECT_FALSE(choice_code(2, 8).bitmask);
  EXPECT_TRUE(choice_code(4, 8).bitmask);
}

}  // namespace
}  // namespace coppice
