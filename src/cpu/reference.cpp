// The plain product in double precision, one stored weight at a time.
#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>
#include <vector>

#include "coppice/linear.h"
#include "cpu/check_product.h"
#include "format/choice_code.h"

namespace coppice {
namespace {

double activate(double v, Activation activation) {
  switch (activation) {
    case Activation::none:
      return v;
    case Activation::relu:
      return v < 0 ? 0 : v;
    case Activation::gelu:
      return 0.5 * v * std::erfc(-v * std::numbers::sqrt2 / 2);
    case Activation::gelu_tanh: {
      // 0.5 v (1 + tanh(u)) as a logistic function, which keeps small results exact.
      const double u = std::sqrt(2 / std::numbers::pi) * (v + 0.044715 * v * v * v);
      return v / (1 + std::exp(-2 * u));
    }
    case Activation::silu:
      return v / (1 + std::exp(-v));
  }
  return v;
}

// Tokens whose sums are made side by side, so that no addition waits for the one before; and how
// many of them are converted at a time.
constexpr std::int64_t kLanes = 8, kTokens = 64;
using Lanes = std::array<double, kLanes>;

// Some tokens of x, the lanes of a column together: [group of tokens][column].
class Columns {
 public:
  explicit Columns(std::int64_t cols)
      : cols_(cols), values_(static_cast<std::size_t>(cols * (kTokens / kLanes))) {}

  void read(const Activations& x, std::int64_t first, std::int64_t tokens) {
    for (std::int64_t t = 0; t < tokens; ++t)
      for (std::int64_t col = 0; col < cols_; ++col)
        values_[index(t / kLanes, col)][static_cast<std::size_t>(t % kLanes)] =
            x.at(first + t, col);
  }

  // Adds in the order of the columns, as for one token alone.
  Lanes sums(std::int64_t group, std::span<const float> weights,
             std::span<const std::int32_t> columns) const {
    Lanes sums{};
    const Lanes* lanes = values_.data() + index(group, 0);  // there may be no column
    for (std::size_t k = 0; k < weights.size(); ++k)
      for (std::size_t i = 0; i < kLanes; ++i) sums[i] += double{weights[k]} * lanes[columns[k]][i];
    return sums;
  }

 private:
  std::size_t index(std::int64_t group, std::int64_t col) const {
    return static_cast<std::size_t>(group * cols_ + col);
  }

  std::int64_t cols_;
  std::vector<Lanes> values_;
};

// For some tokens that `columns` holds.
void multiply_tokens(const SparseView& weight, const Columns& columns, std::int64_t first,
                     std::int64_t tokens, const BasicActivations<double>& y,
                     const Epilogue& epilogue) {
  const Grid& grid = *weight.grid;
  std::vector<float> values(static_cast<std::size_t>(grid.kept()));
  StoredColumns stored(weight);
  std::int64_t vector = 0;
  for (const RowVector& rows : grid.vectors()) {
    stored.seek(vector++);
    for (std::int64_t row = rows.row; row < rows.row + rows.rows; ++row) {
      const std::span<const std::int32_t> kept = stored.row(row);
      to_float(weight.dtype, weight.values.data() + row * grid.kept() * dtype_bytes(weight.dtype),
               values);
      const double bias =
          epilogue.bias.empty() ? 0.0 : epilogue.bias[static_cast<std::size_t>(row)];
      for (std::int64_t group = 0; group * kLanes < tokens; ++group) {
        const Lanes sums = columns.sums(group, values, kept);
        const std::int64_t token = group * kLanes, lanes = std::min(kLanes, tokens - token);
        for (std::int64_t i = 0; i < lanes; ++i)
          y.at(first + token + i, row) =
              activate(double{epilogue.alpha} * sums[static_cast<std::size_t>(i)] + bias,
                       epilogue.activation);
      }
    }
  }
}

}  // namespace

void reference_multiply(const SparseView& weight, const Activations& x,
                        const BasicActivations<double>& y, const Epilogue& epilogue) {
  const Grid& grid = *weight.grid;
  cpu::check_product(grid.rows(), grid.cols(), x, y, epilogue);
  Columns columns(grid.cols());
  for (std::int64_t first = 0; first < x.tokens; first += kTokens) {
    const std::int64_t tokens = std::min(kTokens, x.tokens - first);
    columns.read(x, first, tokens);
    multiply_tokens(weight, columns, first, tokens, y, epilogue);
  }
}

}  // namespace coppice
