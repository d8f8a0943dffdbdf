#include <fmt/format.h>

#include "cuda/blocked/blocked_select.h"
#include "cuda/element/held_select.h"
#include "cuda/kernels/decode_sizes.h"
#include "cuda/select.h"
#include "cuda/window/ring_layout.h"

namespace coppice::cuda {

std::string_view rows_name(MmaRows rows) {
  return rows == MmaRows::in_order ? "in order" : rows == MmaRows::window ? "window" : "gathered";
}

std::string selection_name(const Selection& selection) {
  if (is_element_family(selection.family))
    return fmt::format("{} {}",
                       selection.family == Family::lookup  ? "look-up"
                       : is_held(selection)                ? "held"
                       : selection.family == Family::quads ? "quads"
                                                           : "fragments",
                       selection.tile_tokens);
  const char* before = selection.transpose     ? " after a transpose"
                       : selection.repack      ? " after a copy"
                       : selection.token_major ? " token-major"
                                               : "";
  if (selection.family == Family::blocked) return blocked_name(selection) + before;
  if (selection.family == Family::unpack)
    return selection.shape == 1 ? "unpack dense tf32" : "unpack dense";
  if (selection.family == Family::decode) {
    const DecodeShape& s = selection.decode;
    if (decode::is_ring(s)) return fmt::format("decode ring {} {} slices", s.tokens, s.slices());
    return fmt::format("decode {}x{} {} slices", kBlockRows * s.row_warps, s.tokens, s.slices());
  }
  if (selection.family == Family::mma) {
    const MmaKernel& kernel = selection.mma.config();
    return fmt::format("mma {}x{} {} {}x{}{}", 64 * kernel.row_warps, kernel.tile_tokens(),
                       rows_name(kernel.rows), selection.mma.stages, kernel.places(), before);
  }
  if (selection.family == Family::window) {
    const int shape = selection.shape;
    return fmt::format("window {}{}x{}{}", is_ring(shape) ? "ring " : "", window_tile_rows(shape),
                       window_tile_tokens(shape), before);
  }
  const WgmmaShape& shape = kWgmmaShapes[static_cast<std::size_t>(selection.shape)];
  const char* name = selection.family == Family::expand     ? "expand"
                     : selection.family == Family::gather   ? "gather"
                     : selection.family == Family::two_four ? "unpack 2:4"
                                                            : "wgmma";
  return fmt::format("{} {}x{}{}{}{}", name, shape.rows(), shape.tile_tokens(),
                     shape.col_groups > 1 ? " in turns" : "",
                     selection.slices > 1 ? fmt::format(" {} slices", selection.slices) : "",
                     before);
}

}  // namespace coppice::cuda
