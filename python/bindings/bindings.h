// Every file of bindings fills the one module; errors come first, for their classes.
#pragma once

#include <nanobind/nanobind.h>

namespace coppice::python {

void bind_errors(nanobind::module_& module);
void bind_pattern(nanobind::module_& module);
void bind_masks(nanobind::module_& module);
void bind_sparse_matrix(nanobind::module_& module);
void bind_product(nanobind::module_& module);
void bind_permutations(nanobind::module_& module);
void bind_updates(nanobind::module_& module);
void bind_fisher(nanobind::module_& module);
void bind_folds(nanobind::module_& module);
void bind_statistics(nanobind::module_& module);
void bind_checkpoint(nanobind::module_& module);
void bind_tensors(nanobind::module_& module);
void bind_cuda(nanobind::module_& module);         ///< in builds with the CUDA backend
void bind_cuda_blocks(nanobind::module_& module);  ///< the same

}  // namespace coppice::python
