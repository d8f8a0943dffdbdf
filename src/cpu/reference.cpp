// The plain product in double precision, one stored weight at a time.
#include <cmath>
#include <numbers>
#include <string>
#include <vector>

#include "coppice/error.h"
#include "coppice/linear.h"
#include "cpu/check_product.h"
#include "cpu/choices.h"

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

struct StoredWeight {
  std::int64_t column;
  double value;
};

// The stored weights of one row, with their original columns.
void read_row(const SparseView& weight, std::int64_t vector, std::int64_t row,
              std::vector<StoredWeight>& out) {
  const Grid& grid = *weight.grid;
  const auto kept = static_cast<std::size_t>(grid.kept());
  std::vector<float> values(kept);
  to_float(weight.dtype, weight.values.data() + row * grid.kept() * dtype_bytes(weight.dtype),
           values);
  std::vector<int> blocks, choice;
  out.clear();
  for (const ColumnGroup& group : grid.groups()) {
    blocks.resize(static_cast<std::size_t>(group.kept_blocks));
    choice.resize(static_cast<std::size_t>(group.kept));
    cpu::read_blocks(weight, vector, group, blocks.data());
    cpu::read_row_choice(weight, row, group, choice.data());
    for (int k = 0; k < group.kept; ++k) {
      const std::int64_t col =
          cpu::live_column(group, blocks.data(), choice[static_cast<std::size_t>(k)]);
      out.push_back(
          {cpu::original_column(weight, col), values[static_cast<std::size_t>(group.value + k)]});
    }
  }
}

}  // namespace

void reference_multiply(const SparseView& weight, const Activations& x,
                        const BasicActivations<double>& y, const Epilogue& epilogue) {
  const Grid& grid = *weight.grid;
  cpu::check_product(grid.rows(), grid.cols(), x, y, epilogue);
  std::vector<StoredWeight> stored;
  std::int64_t vector = 0;
  for (const RowVector& rows : grid.vectors()) {
    for (std::int64_t row = rows.row; row < rows.row + rows.rows; ++row) {
      read_row(weight, vector, row, stored);
      const double bias =
          epilogue.bias.empty() ? 0.0 : epilogue.bias[static_cast<std::size_t>(row)];
      for (std::int64_t token = 0; token < x.tokens; ++token) {
        double sum = 0;
        for (const StoredWeight& w : stored) sum += w.value * double{x.at(token, w.column)};
        y.at(token, row) = activate(double{epilogue.alpha} * sum + bias, epilogue.activation);
      }
    }
    ++vector;
  }
}

}  // namespace coppice
