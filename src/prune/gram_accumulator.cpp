#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "coppice/error.h"
#include "coppice/statistics.h"
#include "core/parallel_for.h"
#include "prune/gram_kernels.h"

namespace coppice {
namespace {

using prune::kGramPanel;

// Tokens whose products are summed in fp32: two panels of so many stay in the first-level cache,
// and the squares of the largest activation that is accepted cannot overflow.
constexpr std::int64_t kBlockTokens = 128;
constexpr float kLargestActivation = 1e18f;

std::int64_t panel_count(std::int64_t cols) { return (cols + kGramPanel - 1) / kGramPanel; }

void check_activations(const Activations& x, std::int64_t cols) {
  if (x.features != cols || x.tokens < 0)
    throw InvalidArgument(fmt::format("activations are [{} tokens, {} features], need {} features",
                                      x.tokens, x.features, cols));
  if (x.tokens > 0 && x.data == nullptr)
    throw InvalidArgument(fmt::format("activations of {} tokens have no data", x.tokens));
  for (std::int64_t token = 0; token < x.tokens; ++token)
    for (std::int64_t feature = 0; feature < cols; ++feature)
      if (!(std::fabs(x.at(token, feature)) < kLargestActivation))
        throw InvalidArgument(fmt::format(
            "the activation of token {}, feature {} is {}; statistics need numbers below {:g}",
            token, feature, x.at(token, feature), kLargestActivation));
}

// Panels [panels, tokens, kGramPanel] of some tokens; `panels` holds zeros beyond the columns.
void pack(const Activations& x, std::int64_t first, std::int64_t tokens, int threads,
          std::vector<float>& panels) {
  parallel_for(panel_count(x.features), threads, [&](std::int64_t panel) {
    const std::int64_t col = panel * kGramPanel;
    const std::int64_t cols = std::min<std::int64_t>(kGramPanel, x.features - col);
    float* out = panels.data() + panel * tokens * kGramPanel;
    for (std::int64_t token = 0; token < tokens; ++token)
      for (std::int64_t c = 0; c < kGramPanel; ++c)
        out[token * kGramPanel + c] = c < cols ? x.at(first + token, col + c) : 0.0f;
  });
}

// Adds one tile to the matrix, at panels (i, j).
void add_tile(const float* tile, std::int64_t i, std::int64_t j, std::int64_t cols,
              std::vector<double>& gram) {
  const std::int64_t row = i * kGramPanel, col = j * kGramPanel;
  const std::int64_t height = std::min<std::int64_t>(kGramPanel, cols - row);
  const std::int64_t width = std::min<std::int64_t>(kGramPanel, cols - col);
  for (std::int64_t r = 0; r < height; ++r) {
    double* sums = gram.data() + (row + r) * cols + col;
    for (std::int64_t c = 0; c < width; ++c)
      sums[c] += static_cast<double>(tile[r * kGramPanel + c]);
  }
}

}  // namespace

GramAccumulator::GramAccumulator(std::int64_t cols, int threads) : threads_(threads) {
  if (cols < 1)
    throw InvalidArgument(fmt::format("statistics of {} columns: need 1 or more", cols));
  statistics_.cols = cols;
  statistics_.gram.resize(static_cast<std::size_t>(cols * cols));
}

void GramAccumulator::add(const Activations& x) {
  const std::int64_t cols = statistics_.cols, count = panel_count(cols);
  check_activations(x, cols);
  std::vector<float> panels(static_cast<std::size_t>(count * kGramPanel) *
                            static_cast<std::size_t>(std::min(kBlockTokens, x.tokens)));
  for (std::int64_t first = 0; first < x.tokens; first += kBlockTokens) {
    const std::int64_t tokens = std::min(kBlockTokens, x.tokens - first);
    pack(x, first, tokens, threads_, panels);
    auto panel = [&](std::int64_t p) { return panels.data() + p * tokens * kGramPanel; };
    parallel_for(count, threads_, [&](std::int64_t i) {
      alignas(64) std::array<float, kGramPanel * kGramPanel> tile;
      for (std::int64_t j = i; j < count; ++j) {
        prune::multiply_panels(panel(i), panel(j), tokens, tile.data());
        add_tile(tile.data(), i, j, cols, statistics_.gram);
      }
    });
  }
  statistics_.samples += x.tokens;
}

InputStatistics GramAccumulator::statistics() const {
  InputStatistics out = statistics_;
  const std::int64_t cols = out.cols;
  out.square_sums.resize(static_cast<std::size_t>(cols));
  parallel_for(panel_count(cols), threads_, [&](std::int64_t panel) {
    for (std::int64_t r = panel * kGramPanel; r < std::min(cols, (panel + 1) * kGramPanel); ++r) {
      double* row = out.gram.data() + r * cols;
      for (std::int64_t c = 0; c < r; ++c)
        row[c] = statistics_.gram[static_cast<std::size_t>(c * cols + r)];
      out.square_sums[static_cast<std::size_t>(r)] = row[r];
    }
  });
  return out;
}

}  // namespace coppice
