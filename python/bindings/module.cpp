#include "bindings.h"

NB_MODULE(_core, module) {
  using namespace coppice::python;
  module.doc() = "Bindings of the Coppice library; use them through the package coppice.";
  module.attr("__version__") = COPPICE_VERSION;
  bind_errors(module);
  bind_pattern(module);
  bind_masks(module);
  bind_sparse_matrix(module);
  bind_product(module);
  bind_permutations(module);
  bind_updates(module);
  bind_statistics(module);
  bind_checkpoint(module);
  bind_fisher(module);
  bind_folds(module);
  bind_tensors(module);
#if COPPICE_HAS_CUDA
  bind_cuda(module);
  bind_cuda_blocks(module);
#endif
  module.attr("has_cuda") = COPPICE_HAS_CUDA != 0;
}
