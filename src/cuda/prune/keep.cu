// Which weights are kept: from the choices of the compression kernels, from and to masks.
#include "cuda/prune/kernels.h"
#include "cuda/prune/launch.h"

namespace coppice::cuda {
namespace {

// Blocks (columns, for V:N:M) kept before block `b`.
__device__ inline int rank_of(const std::uint32_t* choice, int b) {
  int rank = 0;
  for (int word = 0; word < b / 32; ++word) rank += __popc(choice[word]);
  return rank + __popc(choice[b / 32] & ((1u << (b % 32)) - 1));
}

__device__ inline bool is_kept(const KeepArguments& a, std::int64_t row, std::int64_t col) {
  const std::int32_t g = a.group_of_col[col];
  const ColumnGroup& group = a.groups[g];
  if (group.kept == group.cols) return true;
  const std::int64_t owner = a.owner_of_row[row];
  const std::uint32_t* choice = a.choices + (owner * a.group_count + g) * a.choice_words;
  const int b = static_cast<int>(col - group.col) / group.block_cols;
  if ((choice[b / 32] >> (b % 32) & 1) == 0) return false;
  if (a.picks == nullptr) return true;
  // The row's own choice: places among the kept columns, two bits each.
  const int place = rank_of(choice, b);
  const unsigned code = a.picks[g * a.rows + row];
  for (int i = 0; i < group.kept; ++i)
    if (static_cast<int>(code >> (2 * i) & 3) == place) return true;
  return false;
}

}  // namespace

void keep_chosen(const KeepArguments& a) {
  for_each(a.rows * a.cols, "writing a support", [=] __device__(std::int64_t i) {
    const std::int64_t row = i / a.cols, col = i - row * a.cols;
    if (a.penalty != nullptr && !(a.penalty[row] > 0)) return;
    a.keep[row * a.stride + col] = is_kept(a, row, col) ? 1 : 0;
  });
}

void pack_mask(const std::uint8_t* keep, std::uint64_t* words, std::int64_t rows,
               std::int64_t cols) {
  const std::int64_t row_words = (cols + 63) / 64;
  for_each(rows * row_words, "packing a mask", [=] __device__(std::int64_t i) {
    const std::int64_t row = i / row_words, first = (i - row * row_words) * 64;
    std::uint64_t word = 0;
    for (std::int64_t c = first; c < first + 64 && c < cols; ++c)
      word |= std::uint64_t{keep[row * cols + c] != 0} << (c - first);
    words[i] = word;
  });
}

void unpack_mask(const std::uint64_t* words, const float* penalty, std::uint8_t* keep,
                 std::int64_t rows, std::int64_t cols, std::int64_t stride) {
  const std::int64_t row_words = (cols + 63) / 64;
  for_each(rows * cols, "unpacking a mask", [=] __device__(std::int64_t i) {
    const std::int64_t row = i / cols, col = i - row * cols;
    if (penalty != nullptr && !(penalty[row] > 0)) return;
    keep[row * stride + col] =
        static_cast<std::uint8_t>(words[row * row_words + col / 64] >> (col % 64) & 1);
  });
}

}  // namespace coppice::cuda
