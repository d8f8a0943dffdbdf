#include "cuda/element/fragment_launch.h"
#include "cuda/element/lookup_launch.h"

namespace coppice::cuda {

void launch_element_lookup(const ElementArguments& p, Dtype dtype, int tile, bool clusters,
                           cudaStream_t stream) {
  const int form = lookup_form(p.weight.layout, p.weight.staged,
                               shares_lists(p.weight.layout, p.weight.row_vectors == nullptr));
  if (dtype == Dtype::f32)
    launch_lookup_f32(p, form, tile, clusters, stream);
  else if (dtype == Dtype::f16)
    launch_lookup_f16(p, form, tile, clusters, stream);
  else
    launch_lookup_bf16(p, form, tile, clusters, stream);
}

void launch_element_fragments(const FragmentArguments& p, Dtype dtype, int tile, bool clusters,
                              cudaStream_t stream) {
  const int form = fragment_form(p.weight.layout, shares_vectors(p.weight));
  if (dtype == Dtype::f16)
    launch_fragments_f16(p, form, tile, clusters, stream);
  else
    launch_fragments_bf16(p, form, tile, clusters, stream);
}

}  // namespace coppice::cuda
