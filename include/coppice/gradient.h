// The two products of a sparse weight's backward pass on the CPU, straight from the canonical form:
//
//   coppice::KeptColumns kept(sparse.view());                    // once for a mask, not for a
//   value coppice::multiply_transposed<float>(kept, values, dy, dx);   // dX = W^T dY
//   coppice::sampled_product<float>(kept, dy, x, dvalues);       // dW, at the kept positions alone
//
// Values are [rows, grid().kept()] in the canonical order, as floats or doubles (doubles are for
// checking gradients); the masters of a training run, so they are passed to each call and never
// copied. Results are the same bits for every call and any number of threads.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "coppice/linear.h"
#include "coppice/sparse_matrix.h"

namespace coppice {

/// Where the stored weights lie, decoded: 4 bytes each. Immutable, safe to share between threads.
class KeptColumns {
 public:
  /// Reads a valid weight (see `validate`); its values are not looked at.
  explicit KeptColumns(const SparseView& weight, int threads = 1);

  const Grid& grid() const { return *grid_; }
  /// `[grid().kept()]`: the columns of a row's weights in grid order, as places before the input
  /// permutation.
  std::span<const std::int32_t> places(std::int64_t row) const {
    const auto kept = static_cast<std::size_t>(grid_->kept());
    return {places_.data() + static_cast<std::size_t>(row) * kept, kept};
  }
  /// The weight's column at a place.
  std::int64_t column(std::int64_t place) const {
    return input_permutation_.empty()
               ? place
               : std::int64_t{input_permutation_[static_cast<std::size_t>(place)]};
  }

 private:
  std::shared_ptr<const Grid> grid_;
  std::vector<std::uint32_t> input_permutation_;
  std::vector<std::int32_t> places_;
};

/// dX = W^T dY. values: [rows, kept]; dy: [tokens, rows]; dx: [tokens, cols], either layout each;
/// they must not overlap. T is float or double, and sums are taken in T. Throws InvalidArgument if
/// shapes do not fit.
template <typename T>
void multiply_transposed(const KeptColumns& kept, std::span<const T> values,
                         const BasicActivations<const T>& dy, const BasicActivations<T>& dx,
                         int threads = 1);

/// The gradient of the stored weights: dvalues[r, k] = sum over tokens of dY[token, r] * X[token,
/// column of weight k of row r]. dy: [tokens, rows]; x: [tokens, cols], either layout each;
/// dvalues: [rows, kept]. T is float or double, and sums are taken in T. Throws InvalidArgument if
/// shapes do not fit.
template <typename T>
void sampled_product(const KeptColumns& kept, const BasicActivations<const T>& dy,
                     const BasicActivations<const T>& x, std::span<T> dvalues, int threads = 1);

}  // namespace coppice
