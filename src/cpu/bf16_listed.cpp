// Many tokens: the lanes are tokens, and only what is kept is multiplied.
//
//   dX  a task is a sliver and up to 512 tokens. Blocks of 96 rows are expanded to a sliver of 48
//       pairs of rows; of a column, the pairs that keep something (44 % at 2:8) are multiplied by a
//       panel of 128 tokens, whose sums are in registers. Pairs make the value and its activations
//       one instruction for two weights, and their order is that of the rows: no list is stored but
//       a bit for each.
//   dW  a task is 96 rows of the weight. Of a row and a sliver, each kept weight is a dot product
//       over 256 tokens, 8 of them side by side.
#include <algorithm>
#include <array>

#include "core/parallel_for.h"
#include "core/rounding.h"
#include "cpu/bf16_products.h"

namespace coppice::cpu {
namespace {

static_assert(KeptBits::kPairs == kListedPairs && KeptBits::kCols == kSliverCols);

constexpr std::int64_t kPartPanels = 4;  // for which a sliver is expanded once
constexpr std::int64_t kTaskRows = 96;
constexpr std::int64_t kPackFeatures = 256;  // of one piece of work

// dY in panels of tokens, pairs of neighbouring features side by side:
// [parts of 4 panels][blocks of 48 pairs][panels][pairs][tokens][2].
class PairPanels {
 public:
  PairPanels(const Bf16Kernels& kernels, const Bf16Input& dy, Scratch& scratch, int threads)
      : panels_(dy.tokens, kListedTokens, 16),
        features_(dy.features),
        data_(scratch.room<std::uint16_t>(panels_.count() * pair_count() * panels_.width() * 2)) {
    parallel_for(panels_.count() * blocks(), threads,
                 [&](std::int64_t task) { copy(kernels, dy, task / blocks(), task % blocks()); });
  }
  const TokenPanels& panels() const { return panels_; }
  std::int64_t blocks() const { return ceil_div(features_, 2 * kListedPairs); }
  std::int64_t parts() const { return ceil_div(panels_.count(), kPartPanels); }
  const std::uint16_t* at(std::int64_t panel, std::int64_t block) const {
    const std::int64_t first = panel / kPartPanels * kPartPanels;
    const std::int64_t in_part = std::min(kPartPanels, panels_.count() - first);
    const std::int64_t before =
        first * pair_count() + block * kListedPairs * in_part + (panel - first) * pairs(block);
    return data_ + before * panels_.width() * 2;
  }
  std::int64_t pairs(std::int64_t block) const {
    return std::min<std::int64_t>(kListedPairs, pair_count() - block * kListedPairs);
  }

 private:
  std::int64_t pair_count() const { return ceil_div(features_, 2); }

  void copy(const Bf16Kernels& kernels, const Bf16Input& dy, std::int64_t panel,
            std::int64_t block) const {
    const std::int64_t token = panels_.token(panel), tokens = panels_.tokens(panel);
    const std::int64_t feature = block * 2 * kListedPairs;
    const std::int64_t features = std::min<std::int64_t>(2 * kListedPairs, features_ - feature);
    const std::int64_t stride = 2 * panels_.padded(panel);
    auto* to = const_cast<std::uint16_t*>(at(panel, block));
    if (dy.layout == Layout::token_major)
      return kernels.transpose_pairs({&dy.at(token, feature), tokens, features, dy.major_stride()},
                                     to, stride);
    for (std::int64_t f = 0; f < features; f += 2, to += stride) {
      const std::uint16_t* even = &dy.at(token, feature + f);
      kernels.pair(even, f + 1 < features ? even + dy.major_stride() : nullptr, tokens, to);
      std::fill(to + 2 * tokens, to + stride, std::uint16_t{0});
    }
  }

  TokenPanels panels_;
  std::int64_t features_;
  std::uint16_t* data_;
};

// Activations in panels of tokens, [panels][features][tokens]; feature f of it is column(f) of a.
template <typename Column>
const std::uint16_t* feature_rows(const Bf16Kernels& kernels, const Bf16Input& a,
                                  const TokenPanels& panels, bool in_place, const Column& column,
                                  Scratch& scratch, int threads) {
  // The last sliver is read as if it were whole, and a column more.
  auto* data =
      scratch.room<std::uint16_t>((panels.count() * a.features + kSliverCols + 1) * panels.width());
  const std::int64_t pieces = ceil_div(a.features, kPackFeatures);
  parallel_for(panels.count() * pieces, threads, [&](std::int64_t task) {
    const std::int64_t panel = task / pieces, first = task % pieces * kPackFeatures;
    const std::int64_t features = std::min(kPackFeatures, a.features - first);
    const std::int64_t token = panels.token(panel), tokens = panels.tokens(panel);
    const std::int64_t padded = panels.padded(panel);
    std::uint16_t* to = data + token * a.features + first * padded;
    if (a.layout == Layout::token_major && in_place)
      return kernels.transpose({&a.at(token, first), tokens, features, a.major_stride()}, to,
                               padded);
    for (std::int64_t f = 0; f < features; ++f, to += padded) {
      const std::int64_t from = column(first + f);
      for (std::int64_t t = 0; t < tokens; ++t) to[t] = a.at(token + t, from);
      std::fill(to + tokens, to + padded, std::uint16_t{0});
    }
  });
  return data;
}

// sums [64][padded tokens] of a panel to where its tokens and the columns of a sliver lie.
void write_panel(const Bf16Kernels& kernels, const KeptBits& kept, std::int64_t sliver,
                 const float* sums, const TokenPanels& panels, std::int64_t panel,
                 const Bf16Output& dx) {
  const std::int64_t col = sliver * kSliverCols, cols = sliver_cols(kept, sliver);
  const std::int64_t token = panels.token(panel), tokens = panels.tokens(panel);
  const std::int64_t stride = panels.padded(panel);
  if (dx.layout == Layout::feature_major) {
    for (std::int64_t c = 0; c < cols; ++c)
      kernels.round(sums + c * stride, stride, 1, tokens, &dx.at(token, kept.column(col + c)),
                    stride);
    return;
  }
  if (!kept.permuted())
    return kernels.round_transposed(sums, stride, tokens, cols, &dx.at(token, col),
                                    dx.major_stride());
  std::array<std::uint16_t, kListedTokens * kSliverCols> rounded;
  kernels.round_transposed(sums, stride, tokens, cols, rounded.data(), kSliverCols);
  for (std::int64_t t = 0; t < tokens; ++t)
    for (std::int64_t c = 0; c < cols; ++c)
      dx.at(token + t, kept.column(col + c)) =
          rounded[static_cast<std::size_t>(t * kSliverCols + c)];
}

}  // namespace

void multiply_transposed_listed(const Bf16Kernels& kernels, const KeptBits& kept,
                                std::span<const std::uint16_t> values, const Bf16Input& dy,
                                const Bf16Output& dx, int threads) {
  thread_local Scratch dy_scratch;
  const PairPanels dys(kernels, dy, dy_scratch, threads);
  const TokenPanels& panels = dys.panels();
  const std::int64_t panel_sums = kSliverCols * panels.width();
  parallel_for(dys.parts() * kept.slivers(), threads, [&](std::int64_t task) {
    const std::int64_t first = task / kept.slivers() * kPartPanels, s = task % kept.slivers();
    const std::int64_t count = std::min(kPartPanels, panels.count() - first);
    thread_local Scratch sliver_scratch, sums_scratch;
    auto* sliver = sliver_scratch.room<std::uint16_t>(kListedPairs * 2 * kSliverCols);
    auto* sums = sums_scratch.room<float>(count * panel_sums);
    if (dys.blocks() == 0) std::fill_n(sums, count * panel_sums, 0.0f);
    for (std::int64_t b = 0; b < dys.blocks(); ++b) {
      const std::int64_t row = b * 2 * kListedPairs;
      kernels.expand(kept_rows(kept, s, values, row,
                               std::min<std::int64_t>(2 * kListedPairs, dy.features - row)),
                     sliver);
      for (std::int64_t p = 0; p < count; ++p)
        kernels.multiply_listed({.pairs_kept = kept.pairs(b).data() + s * kSliverCols,
                                 .cols = sliver_cols(kept, s),
                                 .sliver = sliver,
                                 .panel = dys.at(first + p, b),
                                 .tokens = static_cast<int>(panels.padded(first + p)),
                                 .sums = sums + p * panel_sums,
                                 .first = b == 0});
    }
    for (std::int64_t p = 0; p < count; ++p)
      write_panel(kernels, kept, s, sums + p * panel_sums, panels, first + p, dx);
  });
}

void sampled_product_listed(const Bf16Kernels& kernels, const KeptBits& kept, const Bf16Input& dy,
                            const Bf16Input& x, std::span<std::uint16_t> dvalues, int threads) {
  const std::int64_t all_rows = kept.grid().rows();
  thread_local Scratch dy_scratch, x_scratch;
  const TokenPanels panels(x.tokens, kDotTokens, 32);
  const std::uint16_t* dys = feature_rows(
      kernels, dy, panels, true, [](std::int64_t f) { return f; }, dy_scratch, threads);
  const std::uint16_t* xs = feature_rows(
      kernels, x, panels, !kept.permuted(), [&](std::int64_t f) { return kept.column(f); },
      x_scratch, threads);
  parallel_for(ceil_div(all_rows, kTaskRows), threads, [&](std::int64_t task) {
    const std::int64_t row = task * kTaskRows, rows = std::min(kTaskRows, all_rows - row);
    thread_local Scratch sums_scratch;
    auto* sums = sums_scratch.room<float>(kTaskRows * kSliverCols);
    for (std::int64_t s = 0; s < kept.slivers(); ++s) {
      const KeptRows out = kept_rows(kept, s, dvalues, row, rows);
      for (std::int64_t p = 0; p < panels.count(); ++p) {
        const std::int64_t token = panels.token(p), padded = panels.padded(p);
        kernels.dot({.bits = out.bits,
                     .rows = rows,
                     .dy = dys + token * all_rows + row * padded,
                     .x = xs + token * x.features + s * kSliverCols * padded,
                     .tokens = static_cast<int>(padded),
                     .sums = sums,
                     .first = p == 0});
      }
      kernels.round_dots(sums, out, dvalues.data() + row * kept.grid().kept());
    }
  });
}

}  // namespace coppice::cpu
