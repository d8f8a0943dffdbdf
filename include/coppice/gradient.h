// The two products of a sparse weight's backward pass on the CPU, straight from the canonical form:
//
//   coppice::KeptColumns kept(sparse.view());                    // once for a mask, not for a
//   value coppice::multiply_transposed<float>(kept, values, dy, dx);   // dX = W^T dY
//   coppice::sampled_product<float>(kept, dy, x, dvalues);       // dW, at the kept positions alone
//
// Values are [rows, grid().kept()] in the canonical order, as floats or doubles (doubles are for
// checking gradients), or bf16 on processors that multiply it (KeptBits, *_bf16); the masters of a
// training run, so they are passed to each call and never copied. Results are the same bits for
// every call and any number of threads.
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

/// What a processor multiplies bf16 by.
enum class Bf16Instructions : std::uint8_t {
  none,     ///< the products in bf16 below are not to be had
  vectors,  ///< AVX-512 BF16 (and VBMI2, by which weights are expanded)
  tiles,    ///< AMX as well, by which dense products are faster than those below
};

/// Of this processor, and not forbidden by COPPICE_CPU_TARGET.
Bf16Instructions bf16_instructions();

/// Where the stored weights lie, one bit a weight: what the products in bf16 read. Immutable, safe
/// to share between threads.
class KeptBits {
 public:
  static constexpr std::int64_t kCols = 64;   ///< of a sliver
  static constexpr std::int64_t kPairs = 48;  ///< of rows, in a block of `pairs`

  /// Reads a valid weight (see `validate`); its values are not looked at.
  explicit KeptBits(const SparseView& weight, int threads = 1);

  const Grid& grid() const { return *grid_; }
  /// Slivers are 64 places of all rows, the last one perhaps fewer.
  std::int64_t slivers() const { return (grid_->cols() + kCols - 1) / kCols; }
  /// `[rows]`: bit i of a row says whether place 64 * sliver + i is kept.
  std::span<const std::uint64_t> bits(std::int64_t sliver) const {
    const auto rows = static_cast<std::size_t>(grid_->rows());
    return {bits_.data() + static_cast<std::size_t>(sliver) * rows, rows};
  }
  /// Where in the values of a row those of a sliver begin: `[rows]`, or one for all rows.
  std::span<const std::uint32_t> firsts(std::int64_t sliver) const {
    const std::size_t count = firsts_.size() / static_cast<std::size_t>(slivers());
    return {firsts_.data() + static_cast<std::size_t>(sliver) * count, count};
  }
  /// `[cols]`: bit i of a place says whether row 96 * block + 2 * i or the one after it keeps it.
  std::span<const std::uint64_t> pairs(std::int64_t block) const {
    const auto cols = static_cast<std::size_t>(grid_->cols());
    return {pairs_.data() + static_cast<std::size_t>(block) * cols, cols};
  }
  /// Pairs of which a weight is kept, over all pairs; 1 of none.
  double pair_density() const { return pair_density_; }
  /// The weight's column at a place.
  std::int64_t column(std::int64_t place) const {
    return permuted() ? std::int64_t{input_permutation_[static_cast<std::size_t>(place)]} : place;
  }
  bool permuted() const { return !input_permutation_.empty(); }
  /// Nowhere more than 16 of a half sliver's 32 places are kept.
  bool sparse() const { return sparse_; }

 private:
  void read_rows(const SparseView& weight, int threads);
  void join_rows(int threads);
  // Where whole groups fill a sliver, its weights begin at the same place in every row.
  void share_firsts();

  std::shared_ptr<const Grid> grid_;
  std::vector<std::uint32_t> input_permutation_;
  std::vector<std::uint64_t> bits_, pairs_;
  std::vector<std::uint32_t> firsts_;
  bool sparse_ = true;
  double pair_density_ = 1;
};

/// dX = W^T dY in bf16 (numbers are given as their bits), sums in fp32, rounded once. As in a
/// dense product, weights that are pruned may be multiplied: an infinity in dy makes NaN of what
/// they would reach. Numbers below 2^-126 count as 0. Throws InvalidArgument where there are no
/// instructions, or if shapes do not fit.
void multiply_transposed_bf16(const KeptBits& kept, std::span<const std::uint16_t> values,
                              const BasicActivations<const std::uint16_t>& dy,
                              const BasicActivations<std::uint16_t>& dx, int threads = 1);

/// The gradient of the stored weights in bf16, likewise. What is pruned is computed and dropped.
void sampled_product_bf16(const KeptBits& kept, const BasicActivations<const std::uint16_t>& dy,
                          const BasicActivations<const std::uint16_t>& x,
                          std::span<std::uint16_t> dvalues, int threads = 1);

}  // namespace coppice
