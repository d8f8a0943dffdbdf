#include <utility>

#include "coppice/permutation_search.h"
#include "core/parallel_for.h"

namespace coppice {

MaskResult select_mask_permuted(const DenseView& scores, const Pattern& pattern,
                                std::span<const std::uint32_t> input_permutation,
                                const MaskOptions& options) {
  std::vector<std::byte> permuted(
      static_cast<std::size_t>(scores.rows * scores.cols * dtype_bytes(scores.dtype)));
  const MutableDenseView view{permuted.data(), scores.dtype, scores.rows, scores.cols, 0};
  permute_cols(scores, input_permutation, view, options.threads);
  MaskResult result = select_mask(view, pattern, options);
  Mask original(scores.rows, scores.cols);
  parallel_for(scores.rows, options.threads, [&](std::int64_t r) {
    for (std::int64_t c = 0; c < scores.cols; ++c)
      if (result.mask.get(r, c)) original.set(r, input_permutation[static_cast<std::size_t>(c)]);
  });
  result.mask = std::move(original);
  return result;
}

}  // namespace coppice
