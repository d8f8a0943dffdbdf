// How far pruning moves the output of a linear layer, from the Gram matrix of its input alone.
#pragma once

#include <span>

#include "coppice/sparse_matrix.h"

namespace coppice {

class UpdateEngine;  // update.h

/// ||X W^T - X V^T|| / ||X W^T|| (Frobenius) for weights W and V of `[rows, cols]`, any weight
/// dtypes, and G = X^T X: sqrt(tr(D G D^T) / tr(W G W^T)) with D = W - V, in double precision from
/// the stored values. 0 if both outputs are 0, infinite if only that of W is. Takes rows * cols^2
/// multiplications. Same bits for any number of threads.
/// @param gram [cols, cols], symmetric
/// @param engine where the products are computed; null: the CPU. Another engine's sums are taken in
/// another order, and need both weights in memory as floats.
/// Throws InvalidArgument if shapes do not fit or a weight is NaN or infinite; Cancelled.
double output_error(const DenseView& before, const DenseView& after, std::span<const double> gram,
                    int threads = 1, const UpdateEngine* engine = nullptr);

}  // namespace coppice
