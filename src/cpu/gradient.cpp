// The backward products. Lanes are tokens: both sides are copied into panels of a few tokens of
// each feature, padded with zeros, so that one loop serves every pattern, layout and token count. A
// stripe of neighbouring groups whose panel rows fit the first-level cache is gone through for all
// rows before the next.
#include "coppice/gradient.h"

#include <algorithm>
#include <utility>

#include "core/parallel_for.h"
#include "cpu/aligned_buffer.h"
#include "cpu/check_product.h"
#include "cpu/gradient_kernels.h"
#include "cpu/stored_places.h"

namespace coppice {
namespace {

constexpr std::int64_t kCacheBytes = 24 << 10;  // of panel rows that a stripe keeps at hand

std::size_t size(std::int64_t n) { return static_cast<std::size_t>(n); }
std::int64_t blocks_of(std::int64_t count, std::int64_t width) {
  return (count + width - 1) / width;
}

// Tokens of a panel whose rows are at most so many bytes: whole vectors, such that all panels
// together are short; or one token, for one.
template <typename T>
std::int64_t width_for(std::int64_t tokens, std::int64_t most_bytes) {
  constexpr std::int64_t kLanes = cpu::kLaneBytes / static_cast<std::int64_t>(sizeof(T));
  constexpr std::int64_t kPass = kLanes / 2;  // what going through a weight costs beside, in tokens
  if (tokens == 1) return 1;
  const auto cost = [&](std::int64_t width) { return blocks_of(tokens, width) * (width + kPass); };
  std::int64_t best = kLanes;
  for (std::int64_t width = kLanes; width * static_cast<std::int64_t>(sizeof(T)) <= most_bytes;
       width += kLanes)
    if (cost(width) <= cost(best)) best = width;
  return best;
}

// Columns of a stripe.
template <typename T>
std::int64_t columns_at_hand(std::int64_t width) {
  return kCacheBytes / (width * static_cast<std::int64_t>(sizeof(T)));
}

// Neighbouring groups: columns [col, col + cols), weights [value, value + count) of every row.
struct Stripe {
  std::int64_t col = 0, cols = 0, value = 0, count = 0;
};

// Stripes of at most so many columns, at least one group each.
std::vector<Stripe> stripes_of(const Grid& grid, std::int64_t most_cols) {
  std::vector<Stripe> stripes;
  for (const ColumnGroup& group : grid.groups()) {
    if (stripes.empty() || stripes.back().cols + group.cols > most_cols)
      stripes.push_back({group.col, 0, group.value, 0});
    stripes.back().cols += group.cols;
    stripes.back().count += group.kept;
  }
  return stripes;
}

template <typename T>
cpu::StripeWeights<T> weights_of(const KeptColumns& kept, const Stripe& stripe, const T* values,
                                 std::int64_t row, std::int64_t rows) {
  const std::int64_t stride = kept.grid().kept();
  return {.values = values == nullptr ? nullptr : values + row * stride + stripe.value,
          .places = kept.places(row).data() + stripe.value,
          .row_stride = stride,
          .rows = rows,
          .count = stripe.count,
          .first_place = stripe.col};
}

// Elements to the next token and to the next feature.
template <typename T>
std::pair<std::int64_t, std::int64_t> steps_of(const BasicActivations<T>& a) {
  const std::int64_t major = a.major_stride();
  return a.layout == Layout::token_major ? std::pair{major, std::int64_t{1}}
                                         : std::pair{std::int64_t{1}, major};
}

// All tokens in panels, block after block: [blocks][features][width], zeros behind the last token.
// A row of a panel holds the feature that `feature` names.
template <typename T, typename Feature>
cpu::AlignedArray<T> panels_of(const BasicActivations<const T>& a, std::int64_t width, int threads,
                               const Feature& feature) {
  const std::int64_t blocks = blocks_of(a.tokens, width);
  cpu::AlignedArray<T> panels = cpu::aligned_array<T>(size(blocks * a.features * width));
  constexpr std::int64_t kFeatures = 256;  // of one piece of work
  const std::int64_t pieces = blocks_of(a.features, kFeatures);
  const auto [token_step, feature_step] = steps_of(a);
  // Features that are side by side in memory are read together: a cache line of each token.
  const std::int64_t together =
      feature_step == 1 ? cpu::kLaneBytes / static_cast<std::int64_t>(sizeof(T)) : 1;
  parallel_for(blocks * pieces, threads, [&](std::int64_t i) {
    const std::int64_t block = i / pieces, first = i % pieces * kFeatures;
    const std::int64_t tokens = std::min(width, a.tokens - block * width);
    const std::int64_t last = std::min(first + kFeatures, a.features);
    const T* from = a.data + block * width * token_step;
    T* to = panels.get() + block * a.features * width;
    std::fill(to + first * width, to + last * width, T{0});
    for (std::int64_t begin = first; begin < last; begin += together)
      for (std::int64_t t = 0; t < tokens; ++t)
        for (std::int64_t f = begin; f < std::min(begin + together, last); ++f)
          to[f * width + t] = from[t * token_step + feature(f) * feature_step];
  });
  return panels;
}

// The panel of one stripe back to where its tokens and columns lie.
template <typename T>
void write_stripe(const KeptColumns& kept, const Stripe& stripe, const T* sums, std::int64_t width,
                  std::int64_t token, const BasicActivations<T>& dx) {
  const auto [token_step, feature_step] = steps_of(dx);
  const std::int64_t tokens = std::min(width, dx.tokens - token);
  T* to = dx.data + token * token_step;
  const auto write = [&](std::int64_t t, std::int64_t c) {
    to[t * token_step + kept.column(stripe.col + c) * feature_step] = sums[c * width + t];
  };
  if (dx.layout == Layout::token_major) {
    for (std::int64_t t = 0; t < tokens; ++t)
      for (std::int64_t c = 0; c < stripe.cols; ++c) write(t, c);
  } else {
    for (std::int64_t c = 0; c < stripe.cols; ++c)
      for (std::int64_t t = 0; t < tokens; ++t) write(t, c);
  }
}

}  // namespace

KeptColumns::KeptColumns(const SparseView& weight, int threads)
    : grid_(weight.grid),
      input_permutation_(weight.input_permutation.begin(), weight.input_permutation.end()),
      places_(size(grid_->rows() * grid_->kept())) {
  for_each_stored_row(weight, threads, [&](std::int64_t row, std::span<const std::int32_t> places) {
    std::ranges::copy(places, places_.begin() + row * grid_->kept());
  });
}

template <typename T>
void multiply_transposed(const KeptColumns& kept, std::span<const T> values,
                         const BasicActivations<const T>& dy, const BasicActivations<T>& dx,
                         int threads) {
  const Grid& grid = kept.grid();
  cpu::check_activations(dx, "dx");
  cpu::check_activations(dy, "dy");
  cpu::check_gradients(grid, dy.tokens, dy.features, dx.tokens, dx.features, values.size());
  if (dx.tokens == 0 || dx.features == 0) return;
  const std::int64_t width = width_for<T>(dx.tokens, cpu::kScatterBytes);
  const std::vector<Stripe> stripes = stripes_of(grid, columns_at_hand<T>(width));
  const cpu::AlignedArray<T> panels =
      panels_of(dy, width, threads, [](std::int64_t f) { return f; });
  const std::int64_t pieces = std::ssize(stripes);
  parallel_for(blocks_of(dx.tokens, width) * pieces, threads, [&](std::int64_t i) {
    const std::int64_t block = i / pieces;
    const Stripe& stripe = stripes[size(i % pieces)];
    const cpu::AlignedArray<T> sums = cpu::aligned_array<T>(size(stripe.cols * width));
    std::fill(sums.get(), sums.get() + stripe.cols * width, T{0});
    cpu::scatter_rows(weights_of(kept, stripe, values.data(), 0, grid.rows()),
                      panels.get() + block * grid.rows() * width, width, sums.get());
    write_stripe(kept, stripe, sums.get(), width, block * width, dx);
  });
}

template <typename T>
void sampled_product(const KeptColumns& kept, const BasicActivations<const T>& dy,
                     const BasicActivations<const T>& x, std::span<T> dvalues, int threads) {
  const Grid& grid = kept.grid();
  cpu::check_activations(x, "x");
  cpu::check_activations(dy, "dy");
  cpu::check_gradients(grid, dy.tokens, dy.features, x.tokens, x.features, dvalues.size());
  std::ranges::fill(dvalues, T{0});
  if (x.tokens == 0 || dvalues.empty()) return;
  const std::int64_t width = width_for<T>(x.tokens, 16 * cpu::kLaneBytes);
  const std::vector<Stripe> stripes = stripes_of(grid, columns_at_hand<T>(width));
  const auto place = [&kept](std::int64_t f) { return kept.column(f); };
  const cpu::AlignedArray<T> xs = panels_of(x, width, threads, place);
  const cpu::AlignedArray<T> dys = panels_of(dy, width, threads, [](std::int64_t f) { return f; });
  constexpr std::int64_t kRows = 64;  // of one piece of work
  parallel_for(blocks_of(grid.rows(), kRows), threads, [&](std::int64_t piece) {
    const std::int64_t row = piece * kRows, rows = std::min(kRows, grid.rows() - row);
    for (std::int64_t block = 0; block < blocks_of(x.tokens, width); ++block)
      for (const Stripe& stripe : stripes)
        cpu::sample_rows(weights_of<T>(kept, stripe, nullptr, row, rows),
                         dys.get() + (block * grid.rows() + row) * width,
                         xs.get() + (block * grid.cols() + stripe.col) * width, width,
                         dvalues.data() + row * grid.kept() + stripe.value);
  });
}

template void multiply_transposed(const KeptColumns&, std::span<const float>,
                                  const BasicActivations<const float>&,
                                  const BasicActivations<float>&, int);
template void multiply_transposed(const KeptColumns&, std::span<const double>,
                                  const BasicActivations<const double>&,
                                  const BasicActivations<double>&, int);
template void sampled_product(const KeptColumns&, const BasicActivations<const float>&,
                              const BasicActivations<const float>&, std::span<float>, int);
template void sampled_product(const KeptColumns&, const BasicActivations<const double>&,
                              const BasicActivations<const double>&, std::span<double>, int);

}  // namespace coppice
