#include <fmt/format.h>

#include <bit>
#include <cstring>

#include "coppice/error.h"
#include "coppice/prune.h"
#include "core/parallel_for.h"

namespace coppice {
namespace {

// Clears runs of elements whose mask bits are 0. All weight dtypes write +0 as zero bytes.
void clear_unkept(std::byte* row, std::int64_t cols, std::size_t element,
                  std::span<const std::uint64_t> kept) {
  for (std::size_t w = 0; w < kept.size(); ++w) {
    const std::int64_t left = cols - static_cast<std::int64_t>(w) * 64;
    std::uint64_t unkept = ~kept[w];
    if (left < 64) unkept &= (std::uint64_t{1} << left) - 1;
    while (unkept != 0) {
      const int begin = std::countr_zero(unkept);
      const int length = std::countr_one(unkept >> begin);
      std::memset(row + (w * 64 + static_cast<std::size_t>(begin)) * element, 0,
                  static_cast<std::size_t>(length) * element);
      if (begin + length == 64) break;
      unkept &= ~std::uint64_t{0} << (begin + length);
    }
  }
}

}  // namespace

void apply_mask(const MutableDenseView& weights, const Mask& mask, int threads) {
  if (weights.rows != mask.rows() || weights.cols != mask.cols())
    throw InvalidArgument(
        fmt::format("the mask is {} x {}, the weights are {} x {}; both need the "
                    "same shape",
                    mask.rows(), mask.cols(), weights.rows, weights.cols));
  if (weights.stride() < weights.cols)
    throw InvalidArgument(
        fmt::format("weights have a row stride of {}, need {} (the columns) or "
                    "more",
                    weights.stride(), weights.cols));
  const auto element = static_cast<std::size_t>(dtype_bytes(weights.dtype));
  parallel_ranges(weights.rows, threads, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t row = begin; row < end; ++row)
      clear_unkept(weights.row(row), weights.cols, element, mask.row(row));
  });
}

}  // namespace coppice
