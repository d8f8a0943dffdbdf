// The kernels of pruning with compensation that are not in a library, and what they are given.
// Pointers are device memory, matrices row-major and packed where no stride is named. All run on
// the default stream, and throw DeviceError if they cannot be launched. Not part of the public API.
#pragma once

#include <cstdint>

#include "coppice/grid.h"

namespace coppice::cuda {

// gram.cu: matrices of [n, n].

/// Copies what lies above the diagonal below it.
void mirror_upper(double* gram, std::int64_t n);
/// H with rows and columns in reverse order, the lower triangle (inverse_factor.cpp says why).
void load_reversed(const double* gram, double mean, double damping, double* h, std::int64_t n);
/// The lower triangle of the reversed inverse as U, zeros below; counts in *bad what is not finite
/// or, on the diagonal, not above 0.
void store_upper(const double* h, float* upper, std::int64_t n, std::uint32_t* bad);
/// H_ij / (units_i units_j) in both precisions.
void scale_gram(const double* gram, const double* units, double mean, double damping, double* h,
                float* matrix, std::int64_t n);
void to_float(const double* from, float* to, std::int64_t count);

// rows.cu: matrices of [rows, cols].

/// to = a - b; b may be null for zeros.
void subtract(const float* a, const float* b, double* to, std::int64_t count);
/// out[r] = the product of row r of a and of b.
void dot_rows(const double* a, const double* b, double* out, std::int64_t rows, std::int64_t cols);
void dot_rows(const float* a, const float* b, double* out, std::int64_t rows, std::int64_t cols);
/// to = from * units, and back.
void scale_rows(const float* from, const double* units, float* to, std::int64_t rows,
                std::int64_t cols);
void unscale_rows(const float* from, const double* units, float* to, std::int64_t rows,
                  std::int64_t cols);
/// Sets to +0 what is not kept.
void clear_rest(float* matrix, const std::uint8_t* keep, std::int64_t count);
/// to = a - b.
void subtract(const float* a, const float* b, float* to, std::int64_t count);

/// One step of conjugate gradients in every row. product: the direction times the system, cleared.
/// norms: of the residuals, squared.
struct AdvanceArguments {
  float *weights, *residual, *direction;
  const float* product;
  double* norms;
  std::int64_t rows, cols;
};
void advance_rows(const AdvanceArguments& a);

/// The parts of an iteration of ADMM between its matrix products. penalty: [rows], 0 in rows that
/// have ended, which stay as they are.
struct AdmmArguments {
  const float *target, *penalty, *eigenvalues;
  float *weights, *dual, *product, *turned;
  std::uint8_t* keep;
  std::int64_t rows, cols;
};
void admm_right_side(const AdmmArguments& a);  ///< product = target + penalty weights - dual
void admm_divide(const AdmmArguments& a);      ///< turned /= eigenvalue + penalty
void admm_unproject(const AdmmArguments& a);   ///< weights = product + dual / penalty; turned: w²
void admm_settle(const AdmmArguments& a);      ///< clears weights, dual += penalty (product - w)
/// counts[2 r], [2 r + 1]: weights kept in row r, and places in which `keep` differs from `last`.
void count_moves(const std::uint8_t* keep, const std::uint8_t* last, std::uint32_t* counts,
                 std::int64_t rows, std::int64_t cols);

// keep.cu: which weights are kept, a byte each.

/// Mask words: [rows, (cols + 63) / 64], as in Mask.
void pack_mask(const std::uint8_t* keep, std::uint64_t* words, std::int64_t rows,
               std::int64_t cols);
/// Rows with a penalty of 0 stay as they are; null: all rows change. keep: `stride` between rows.
void unpack_mask(const std::uint64_t* words, const float* penalty, std::uint8_t* keep,
                 std::int64_t rows, std::int64_t cols, std::int64_t stride);

/// The choices of the kernels in compress/ as bytes.
struct KeepArguments {
  const ColumnGroup* groups;
  const std::int32_t *group_of_col, *owner_of_row;  // owner: of the outer choice
  const std::uint32_t* choices;                     // (owner, group, choice_words)
  std::int32_t choice_words, group_count;
  const std::uint8_t* picks;  // (group, row), of V:2:M only
  const float* penalty;       // as in unpack_mask
  std::uint8_t* keep;
  std::int64_t rows, cols, stride;
};
void keep_chosen(const KeepArguments& a);

// sweep.cu

/// Columns up to which a group can be chosen jointly (joint_choice.cpp).
inline constexpr int kMaxJointCols = 32;

/// JointGroup::choose.
struct JointArguments {
  const RowVector* vectors;
  std::int32_t vector_count;
  std::int32_t cols, kept, per_outer, sets, outers;
  const std::uint8_t* columns;                  // [sets, kept]
  const std::uint16_t* outer;                   // [outers, per_outer]
  const double *inverse, *curvature, *factors;  // of JointGroup
  double* gradients;                            // scratch, [rows, kMaxJointCols]
  double* savings;                              // scratch, [rows, sets]
  float* weights;                               // of the group's first column
  std::uint8_t* keep;
  std::int64_t stride;  // of weights and keep
  float* errors;        // of the group's first column
  std::int64_t error_stride;
};
void choose_jointly(const JointArguments& a);

/// Columns [begin, end) of a group settle, columns up to `block_end` follow.
struct FollowArguments {
  float* weights;  // [rows, cols]
  const std::uint8_t* keep;
  const float* upper;  // [cols, cols]
  std::int64_t rows, cols;
  std::int64_t begin, end, block_end;
  float* errors;  // of column `begin`
  std::int64_t error_stride;
};
void eliminate_columns(const FollowArguments& a);  ///< ObsSweep::eliminate
void follow_group(const FollowArguments& a);       ///< ObsSweep::propagate_group

/// scores = min(factors w², 1e30), [rows, cols] of weights with a stride.
void score_weights(const float* weights, std::int64_t stride, const double* factors, float* scores,
                   std::int64_t rows, std::int64_t cols);

}  // namespace coppice::cuda
