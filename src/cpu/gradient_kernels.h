// The inner loops of the backward products, one implementation for each instruction set. Not part
// of the public API. A panel holds `width` tokens of each feature side by side, [features, width];
// a width is a multiple of kLaneBytes / sizeof(T), or 1.
#pragma once

#include <cstdint>

namespace coppice::cpu {

inline constexpr int kLaneBytes = 64;  ///< the longest vector in use
/// Bytes of a row of the panels of `scatter_rows` at most: few vectors, so that a weight's factors
/// stay in registers.
inline constexpr int kScatterBytes = 384;

/// The weights of some neighbouring groups, in all rows.
template <typename T>
struct StripeWeights {
  const T* values = nullptr;             ///< the first of row 0; rows are `row_stride` apart
  const std::int32_t* places = nullptr;  ///< of the same weights
  std::int64_t row_stride = 0, rows = 0;
  std::int64_t count = 0;        ///< of a row
  std::int64_t first_place = 0;  ///< panel row 0 stands for this place
};

/// sums[place][t] += value * panel[row][t] for all weights. panel: [rows, width]; sums: [places of
/// the stripe, width].
void scatter_rows(const StripeWeights<float>& weights, const float* panel, std::int64_t width,
                  float* sums);
void scatter_rows(const StripeWeights<double>& weights, const double* panel, std::int64_t width,
                  double* sums);

/// out[row][k] += sum over t of dy[row][t] * x[place][t]. `values` is not read. dy: [rows, width];
/// x: [places of the stripe, width]; rows of `out` are `row_stride` apart.
void sample_rows(const StripeWeights<float>& weights, const float* dy, const float* x,
                 std::int64_t width, float* out);
void sample_rows(const StripeWeights<double>& weights, const double* dy, const double* x,
                 std::int64_t width, double* out);

}  // namespace coppice::cpu
