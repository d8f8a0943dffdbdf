// Few tokens: blocked dense products, of which one side is the weight, expanded into the order that
// the instructions read, or of whose result only the kept positions are stored. Going through the
// weight costs more here than multiplying what is pruned.
#include <algorithm>
#include <array>

#include "core/parallel_for.h"
#include "core/rounding.h"
#include "cpu/bf16_products.h"

namespace coppice::cpu {
namespace {

// Rows of the weight that are expanded at once. Of few tokens a short block is better, since it is
// read from memory at the pace of it; of more, long sums are.
constexpr std::int64_t kSmallBlock = 64, kBlock = 256;
constexpr std::int64_t kVeryFewTokens = 16;
constexpr std::int64_t kTaskRows = 2 * kLeftRows;

// sums [tokens][64] to where the tokens and columns of a sliver lie.
void write_sliver(const Bf16Kernels& kernels, const KeptBits& kept, std::int64_t sliver,
                  const float* sums, const Bf16Output& dx) {
  const std::int64_t col = sliver * kSliverCols, cols = sliver_cols(kept, sliver);
  if (dx.layout == Layout::token_major && !kept.permuted())
    return kernels.round(sums, kSliverCols, dx.tokens, cols, &dx.at(0, col), dx.major_stride());
  std::array<std::uint16_t, kSliverCols> rounded;
  for (std::int64_t t = 0; t < dx.tokens; ++t) {
    kernels.round(sums + t * kSliverCols, kSliverCols, 1, cols, rounded.data(), kSliverCols);
    for (std::int64_t c = 0; c < cols; ++c)
      dx.at(t, kept.column(col + c)) = rounded[static_cast<std::size_t>(c)];
  }
}

// x in slivers, pairs of tokens side by side, a column for each place of the weight.
const std::uint16_t* x_slivers(const Bf16Kernels& kernels, const KeptBits& kept, const Bf16Input& x,
                               Scratch& scratch, int threads) {
  const std::int64_t pairs = ceil_div(x.tokens, 2);
  auto* slivers = scratch.room<std::uint16_t>(kept.slivers() * pairs * 2 * kSliverCols);
  const bool in_place = x.layout == Layout::token_major && !kept.permuted();
  parallel_for(kept.slivers(), threads, [&](std::int64_t sliver) {
    const std::int64_t col = sliver * kSliverCols, cols = sliver_cols(kept, sliver);
    std::uint16_t* to = slivers + sliver * pairs * 2 * kSliverCols;
    for (std::int64_t t = 0; t < x.tokens; t += 2, to += 2 * kSliverCols) {
      const bool both = t + 1 < x.tokens;
      if (in_place) {
        kernels.pair(&x.at(t, col), both ? &x.at(t + 1, col) : nullptr, cols, to);
        continue;
      }
      for (std::int64_t c = 0; c < cols; ++c) {
        const std::int64_t from = kept.column(col + c);
        to[2 * c] = x.at(t, from);
        to[2 * c + 1] = both ? x.at(t + 1, from) : std::uint16_t{0};
      }
    }
  });
  return slivers;
}

}  // namespace

void multiply_transposed_whole(const Bf16Kernels& kernels, const KeptBits& kept,
                               std::span<const std::uint16_t> values, const Bf16Input& dy,
                               const Bf16Output& dx, int threads) {
  thread_local Scratch left_scratch;
  const std::int64_t block = dy.tokens <= kVeryFewTokens ? kSmallBlock : kBlock;
  const LeftSide left(tokens_by_features(dy), block, left_scratch, threads);
  // A block of rows is read from end to end, as it lies in memory, by each thread its part of it.
  const std::int64_t tasks = std::clamp<std::int64_t>(threads, 1, kept.slivers());
  const std::int64_t block_sums = dy.tokens * kSliverCols;
  parallel_for(tasks, threads, [&](std::int64_t task) {
    const std::int64_t first = kept.slivers() * task / tasks;
    const std::int64_t end = kept.slivers() * (task + 1) / tasks;
    thread_local Scratch sliver_scratch, sums_scratch;
    auto* sliver = sliver_scratch.room<std::uint16_t>(block * kSliverCols);
    auto* sums = sums_scratch.room<float>((end - first) * block_sums);
    if (left.k_blocks() == 0) std::fill_n(sums, (end - first) * block_sums, 0.0f);
    for (std::int64_t b = 0; b < left.k_blocks(); ++b)
      for (std::int64_t s = first; s < end; ++s) {
        kernels.expand(kept_rows(kept, s, values, left.k(b), left.k_count(b)), sliver);
        left.for_each_tile(b, 0, dy.tokens, sliver, [&](Bf16Tile& tile, std::int64_t token) {
          tile.sums = sums + (s - first) * block_sums + token * kSliverCols;
          tile.first = b == 0;
          kernels.multiply(tile);
        });
      }
    for (std::int64_t s = first; s < end; ++s)
      write_sliver(kernels, kept, s, sums + (s - first) * block_sums, dx);
  });
}

void sampled_product_whole(const Bf16Kernels& kernels, const KeptBits& kept, const Bf16Input& dy,
                           const Bf16Input& x, std::span<std::uint16_t> dvalues, int threads) {
  const std::int64_t all_rows = kept.grid().rows(), stride = kept.grid().kept();
  const std::int64_t pairs = ceil_div(x.tokens, 2);
  thread_local Scratch left_scratch, right_scratch;
  const LeftSide left(features_by_tokens(dy), 2 * pairs, left_scratch, threads);
  const std::uint16_t* slivers = x_slivers(kernels, kept, x, right_scratch, threads);
  parallel_for(ceil_div(all_rows, kTaskRows), threads, [&](std::int64_t task) {
    const std::int64_t row = task * kTaskRows, rows = std::min(kTaskRows, all_rows - row);
    for (std::int64_t s = 0; s < kept.slivers(); ++s)
      left.for_each_tile(0, row, rows, slivers + s * pairs * 2 * kSliverCols,
                         [&](const Bf16Tile& tile, std::int64_t at) {
                           kernels.multiply_kept(tile, kept_rows(kept, s, dvalues, at, tile.rows),
                                                 dvalues.data() + at * stride);
                         });
  });
}

}  // namespace coppice::cpu
