#include "format/checkpoint_adapter.h"

#include <algorithm>
#include <cstring>
#include <memory>

#include "core/parallel_for.h"

namespace coppice {
namespace {

// A tile of source and target together stays in the first-level cache.
constexpr std::int64_t kTile = 64;
constexpr std::size_t kPiece = 8 << 20;

// out[c - col, r] = in[r, c] for columns [col, col_end): a band of whole rows of the output.
template <typename T>
void transpose_band(const std::byte* in, std::byte* out, std::int64_t rows, std::int64_t cols,
                    std::int64_t col, std::int64_t col_end) {
  constexpr auto kSize = static_cast<std::int64_t>(sizeof(T));
  for (std::int64_t r0 = 0; r0 < rows; r0 += kTile) {
    const std::int64_t r1 = std::min(rows, r0 + kTile);
    for (std::int64_t c = col; c < col_end; ++c) {
      std::byte* to = out + ((c - col) * rows + r0) * kSize;
      const std::byte* from = in + (r0 * cols + c) * kSize;
      for (std::int64_t r = r0; r < r1; ++r, to += kSize, from += cols * kSize)
        std::memcpy(to, from, sizeof(T));
    }
  }
}

void transpose_band(const std::byte* in, std::byte* out, std::int64_t rows, std::int64_t cols,
                    std::int64_t col, std::int64_t col_end, int element_bytes) {
  if (element_bytes == 1) return transpose_band<std::uint8_t>(in, out, rows, cols, col, col_end);
  if (element_bytes == 2) return transpose_band<std::uint16_t>(in, out, rows, cols, col, col_end);
  transpose_band<std::uint32_t>(in, out, rows, cols, col, col_end);
}

// Columns [begin, end) of `in` as rows of `out`.
void transpose_cols(const std::byte* in, std::byte* out, std::int64_t rows, std::int64_t cols,
                    std::int64_t begin, std::int64_t end, int element_bytes, int threads) {
  const std::int64_t bands = (end - begin + kTile - 1) / kTile;
  parallel_for(bands, threads, [&](std::int64_t band) {
    const std::int64_t col = begin + band * kTile;
    transpose_band(in, out + (col - begin) * rows * element_bytes, rows, cols, col,
                   std::min(end, col + kTile), element_bytes);
  });
}

}  // namespace

void transpose(const std::byte* in, std::byte* out, std::int64_t rows, std::int64_t cols,
               int element_bytes, int threads) {
  transpose_cols(in, out, rows, cols, 0, cols, element_bytes, threads);
}

std::size_t weight_bytes(const LinearWeight& weight) {
  return static_cast<std::size_t>(weight.shape.rows * weight.shape.cols *
                                  dtype_bytes(weight.dtype));
}

void load_weight(const LinearWeight& weight, std::span<const std::byte> stored, std::byte* out,
                 int threads) {
  if (weight.transposed) {
    transpose(stored.data(), out, weight.shape.cols, weight.shape.rows, dtype_bytes(weight.dtype),
              threads);
    return;
  }
  const auto pieces = static_cast<std::int64_t>((stored.size() + kPiece - 1) / kPiece);
  parallel_for(pieces, threads, [&](std::int64_t piece) {
    const std::size_t begin = static_cast<std::size_t>(piece) * kPiece;
    std::memcpy(out + begin, stored.data() + begin, std::min(kPiece, stored.size() - begin));
  });
}

void store_weight(const LinearWeight& weight, const std::byte* dense, int threads,
                  const std::function<void(std::span<const std::byte>)>& write) {
  if (!weight.transposed) return write({dense, weight_bytes(weight)});
  const std::int64_t rows = weight.shape.rows, cols = weight.shape.cols;
  const int element_bytes = dtype_bytes(weight.dtype);
  const auto stored_row = static_cast<std::size_t>(rows * element_bytes);
  const auto step = static_cast<std::int64_t>(std::max<std::size_t>(1, kPiece / stored_row));
  const auto piece = std::make_unique_for_overwrite<std::byte[]>(
      static_cast<std::size_t>(std::min(step, cols)) * stored_row);
  for (std::int64_t begin = 0; begin < cols; begin += step) {
    const std::int64_t end = std::min(cols, begin + step);
    transpose_cols(dense, piece.get(), rows, cols, begin, end, element_bytes, threads);
    write({piece.get(), static_cast<std::size_t>(end - begin) * stored_row});
  }
}

}  // namespace coppice
