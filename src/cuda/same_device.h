// Are a product's operands where its weight is?
#pragma once

#include "coppice/cuda.h"

namespace coppice::cuda {

/// True on a machine where they could be elsewhere; asked for once.
bool several_devices();

/// Throws InvalidArgument if the stream, or memory that is given, belongs to another device than
/// the weight. Can be captured; takes about a microsecond.
void check_same_device(const PackedWeight& weight, const Matrix& x, const MutableMatrix& y,
                       const Epilogue& epilogue, const Workspace& workspace, Stream stream);

}  // namespace coppice::cuda
