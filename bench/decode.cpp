#include "bench/decode.h"

namespace coppice::bench {
namespace {

double ratio(double a, double b) { return b > 0 ? a / b : 0; }

}  // namespace

Traffic traffic(const BenchCase& c) {
  WeightShape shape;
  shape.rows = c.rows;
  shape.cols = c.cols;
  const std::int64_t element = dtype_bytes(c.dtype);
  return {Grid(c.pattern, shape).own_bytes(c.dtype), element * c.cols * c.tokens,
          element * c.rows * c.tokens};
}

double Streaming::bandwidth() const { return ratio(static_cast<double>(bytes.total()), seconds); }
double Streaming::of_ceiling() const { return ratio(bandwidth(), rates.ceiling); }
double Streaming::floor_seconds() const {
  return ratio(static_cast<double>(bytes.total()), rates.same_size);
}
double Streaming::of_floor() const { return ratio(floor_seconds(), seconds); }

}  // namespace coppice::bench
