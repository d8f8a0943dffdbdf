// Dense products of the libraries, to compare with.
#include <algorithm>

#include "cuda/model/model.h"
#include "cuda/model/tiles.h"

namespace coppice::cuda::model {
namespace {

double flops_of(const Constants& levels, Dtype dtype) {
  const Constants::Dense& c = levels.dense;
  switch (dtype) {
    case Dtype::f32:
      return c.f32_share * levels.core_flops;
    case Dtype::f8_e4m3:
      return c.f8_share * levels.tensor_flops;
    default:
      return c.f16_share * levels.tensor_flops;
  }
}

}  // namespace

// Operands and outputs through memory once; the whole rate, because of a library's many tiles one
// wastes little.
Cost dense_cost(Dtype dtype, std::int64_t rows, std::int64_t cols, std::int64_t tokens,
                const DeviceInfo& device) {
  const Constants& levels = constants_of(device);
  const Constants::Dense& c = levels.dense;
  const double element = dtype_bytes(dtype);
  const double out = dtype == Dtype::f8_e4m3 ? 2 : element;
  const auto count = [](std::int64_t n) { return static_cast<double>(n); };
  const double bytes =
      element * count(cols) * (count(rows) + count(tokens)) + out * count(rows) * count(tokens);
  const double most = std::max(count(tokens), c.least_tokens);
  Cost cost;
  cost.memory = bytes / (levels.memory_bytes * c.memory_share);
  cost.tensor = 2 * count(rows) * most * count(cols) / flops_of(levels, dtype);
  cost.launch = c.ends_seconds;
  cost.combine();
  return cost;
}

}  // namespace coppice::cuda::model
