#include "coppice/score.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "coppice/error.h"
#include "core/parallel_for.h"

namespace coppice {
namespace {

// Rows whose column sums are formed together: fixed, so that sums do not depend on the threads.
constexpr std::int64_t kBlockRows = 64;

void check(const DenseView& weight, ScoreKind kind, std::span<const double> square_sums,
           std::span<const float> out) {
  if (std::ssize(out) != weight.rows * weight.cols)
    throw InvalidArgument(fmt::format("room for {} scores, a weight of {} x {} needs {}",
                                      out.size(), weight.rows, weight.cols,
                                      weight.rows * weight.cols));
  if (!needs_statistics(kind)) return;
  if (std::ssize(square_sums) != weight.cols)
    throw InvalidArgument(fmt::format("sums of squares of {} inputs, the weight has {} columns",
                                      square_sums.size(), weight.cols));
  for (std::size_t c = 0; c < square_sums.size(); ++c)
    if (!std::isfinite(square_sums[c]) || square_sums[c] < 0)
      throw InvalidArgument(
          fmt::format("the sum of squares of column {} is {}, needs to be a number of 0 or more", c,
                      square_sums[c]));
}

// |weight| as floats, in place of the scores. Throws at the first that is not a number.
void load_magnitudes(const DenseView& weight, std::span<float> out, int threads) {
  const auto cols = static_cast<std::size_t>(weight.cols);
  parallel_ranges(weight.rows, threads, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t r = begin; r < end; ++r) {
      const std::span<float> row = out.subspan(static_cast<std::size_t>(r) * cols, cols);
      to_float(weight.dtype, weight.row(r), row);
      for (std::size_t c = 0; c < cols; ++c) {
        if (!std::isfinite(row[c]))
          throw InvalidArgument(fmt::format(
              "the weight at row {}, column {} is {}, needs to be a number", r, c, row[c]));
        row[c] = std::fabs(row[c]);
      }
    }
  });
}

std::vector<double> column_sums(std::span<const float> magnitudes, std::int64_t rows,
                                std::int64_t cols, int threads) {
  const std::int64_t blocks = (rows + kBlockRows - 1) / kBlockRows;
  const auto width = static_cast<std::size_t>(cols);
  std::vector<std::vector<double>> partial(static_cast<std::size_t>(blocks));
  parallel_for(blocks, threads, [&](std::int64_t block) {
    std::vector<double>& sums = partial[static_cast<std::size_t>(block)];
    sums.resize(width);
    for (std::int64_t r = block * kBlockRows; r < std::min(rows, (block + 1) * kBlockRows); ++r)
      for (std::size_t c = 0; c < width; ++c)
        sums[c] += static_cast<double>(magnitudes[static_cast<std::size_t>(r) * width + c]);
  });
  std::vector<double> total(width);
  for (const auto& sums : partial)
    for (std::size_t c = 0; c < width; ++c) total[c] += sums[c];
  return total;
}

double inverse(double sum) { return sum > 0 ? 1 / sum : 0; }

// What |w_ij| is multiplied by: by_col[j] * (share_of_col[j] + 1 / row sum), or by_col[j] alone.
struct Factors {
  std::vector<double> by_col, share_of_col;
};

Factors make_factors(ScoreKind kind, std::span<const double> square_sums,
                     std::span<const float> magnitudes, std::int64_t rows, int threads) {
  Factors factors;
  for (double sum : square_sums)
    factors.by_col.push_back(kind == ScoreKind::wanda ? std::sqrt(sum) : std::sqrt(std::sqrt(sum)));
  if (kind == ScoreKind::wanda) return factors;
  factors.share_of_col = column_sums(magnitudes, rows, std::ssize(square_sums), threads);
  for (double& sum : factors.share_of_col) sum = inverse(sum);
  return factors;
}

void scale_row(std::span<float> row, const Factors& factors) {
  double row_sum = 0;
  for (float magnitude : row) row_sum += static_cast<double>(magnitude);
  const double share_of_row = inverse(row_sum);
  for (std::size_t c = 0; c < row.size(); ++c) {
    double score = static_cast<double>(row[c]) * factors.by_col[c];
    if (!factors.share_of_col.empty()) score *= factors.share_of_col[c] + share_of_row;
    row[c] = static_cast<float>(score);
  }
}

}  // namespace

std::optional<ScoreKind> parse_score(std::string_view name) {
  if (name == "magnitude") return ScoreKind::magnitude;
  if (name == "wanda") return ScoreKind::wanda;
  if (name == "ria") return ScoreKind::ria;
  return std::nullopt;
}

void score_weights(const DenseView& weight, ScoreKind kind, std::span<const double> square_sums,
                   std::span<float> out, int threads) {
  check(weight, kind, square_sums, out);
  load_magnitudes(weight, out, threads);
  if (kind == ScoreKind::magnitude) return;
  const Factors factors = make_factors(kind, square_sums, out, weight.rows, threads);
  const auto cols = static_cast<std::size_t>(weight.cols);
  parallel_ranges(weight.rows, threads, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t r = begin; r < end; ++r)
      scale_row(out.subspan(static_cast<std::size_t>(r) * cols, cols), factors);
  });
}

}  // namespace coppice
