// What selection has to know of a weight that blocked kernels multiply.
#pragma once

#include <array>
#include <cstdint>

namespace coppice::cuda {

struct BlockedInfo {
  static constexpr int kRows = 8;
  /// Lists of columns of an aligned tile of kRows, 2 kRows and so on rows, at most; 0: it cannot be
  /// multiplied by them.
  std::array<int, 5> lists = {};
  /// Lists of columns of four rows that follow each other, as kernels of short vectors see them: 1,
  /// or 4 where they do not share one. 0: it cannot be multiplied by these kernels.
  int row_lists = 0;
  std::int64_t rows = 0;
  std::int64_t pieces = 0;  ///< of 16 values of a row
};

}  // namespace coppice::cuda
