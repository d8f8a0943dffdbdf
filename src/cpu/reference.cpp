// The plain product in double precision, one stored weight at a time.
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

}  // namespace

void reference_multiply(const SparseView& weight, const Activations& x,
                        const BasicActivations<double>& y, const Epilogue& epilogue) {
  const Grid& grid = *weight.grid;
  cpu::check_product(grid.rows(), grid.cols(), x, y, epilogue);
  const auto kept = static_cast<std::size_t>(grid.kept());
  std::vector<float> values(kept);
  StoredColumns stored(weight);
  std::int64_t vector = 0;
  for (const RowVector& rows : grid.vectors()) {
    stored.seek(vector++);
    for (std::int64_t row = rows.row; row < rows.row + rows.rows; ++row) {
      const std::span<const std::int32_t> columns = stored.row(row);
      to_float(weight.dtype, weight.values.data() + row * grid.kept() * dtype_bytes(weight.dtype),
               values);
      const double bias =
          epilogue.bias.empty() ? 0.0 : epilogue.bias[static_cast<std::size_t>(row)];
      for (std::int64_t token = 0; token < x.tokens; ++token) {
        double sum = 0;
        for (std::size_t k = 0; k < kept; ++k)
          sum += double{values[k]} * double{x.at(token, columns[k])};
        y.at(token, row) = activate(double{epilogue.alpha} * sum + bias, epilogue.activation);
      }
    }
  }
}

}  // namespace coppice
