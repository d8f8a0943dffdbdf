// The product in two steps, for tuners and benchmarks: choose how, then run it that way.
#pragma once

#include <span>

#include "coppice/cuda.h"
#include "cuda/select.h"

namespace coppice::cuda {

/// What selection has to know about a product with such activations.
ProductInfo product_info(const PackedWeight& weight, const Matrix& x,
                         const MultiplyOptions& options = {});

/// What `multiply` would choose.
Selection select_for(const PackedWeight& weight, const Matrix& x,
                     const MultiplyOptions& options = {});

/// `multiply` with the choice made by the caller; arguments are not checked.
void multiply_by(const Selection& selection, const PackedWeight& weight, const Matrix& x,
                 const MutableMatrix& y, const Epilogue& epilogue, const Workspace& workspace,
                 Stream stream);

/// Bytes that it then needs.
std::int64_t workspace_bytes_of(const Selection& selection, const PackedWeight& weight,
                                std::int64_t tokens);

/// Throws InvalidArgument if something does not fit.
void check_arguments(const PackedWeight& weight, const Matrix& x, const MutableMatrix& y,
                     const Epilogue& epilogue);

/// One launch of a decode kernel for products of one kind (see multiply_many.cpp).
void run_decode(const DecodeShape& shape, std::span<const Product> products, const Matrix& x,
                Stream stream);

}  // namespace coppice::cuda
