#include "cuda/element/element_product.h"

#include <algorithm>

#include "cuda/element/fragment_arguments.h"
#include "cuda/element/held_arguments.h"
#include "cuda/element/held_select.h"
#include "cuda/element/quad_arguments.h"
#include "cuda/kernels/tensor_map.h"
#include "cuda/window/ring.h"
#include "cuda/window/ring_map.h"
#include "cuda/window/window.h"

namespace coppice::cuda {
namespace {

#if COPPICE_CUDA_WGMMA
void multiply_held(const ElementProduct& product, int tile_tokens, const ElementPacked& packed,
                   Dtype dtype, const DeviceInfo& device, Stream stream) {
  const int form = packed.info.fragment_form;
  const HeldConfig config = held_config(form, tile_tokens);
  HeldArguments p;
  static_cast<ElementProduct&>(p) = product;
  p.split = split_held(config, p.weight.layout, device.multiprocessors, device.shared_bytes);
  p.places = held_places(config, p.split, held_stages(config, p.split));
  (dtype == Dtype::f16 ? launch_held_f16 : launch_held_bf16)(p, form, tile_tokens, stream);
}
#endif

void multiply_fragments(const ElementProduct& product, int tile_tokens, const ElementPacked& packed,
                        Dtype dtype, Stream stream) {
  const auto tile = std::ranges::find(kFragmentTiles, tile_tokens) - kFragmentTiles.begin();
  const FragmentArguments p{product, packed.info.fragment_splits[static_cast<std::size_t>(tile)]};
#if COPPICE_CUDA_WGMMA
  if (p.split.wgmma) {
    (dtype == Dtype::f16 ? launch_wgmma_fragments_f16 : launch_wgmma_fragments_bf16)(
        p, static_cast<int>(tile), stream);
    return;
  }
#endif
  launch_element_fragments(p, dtype, tile_tokens, packed.overlaps, stream);
}

#if COPPICE_CUDA_WGMMA
void multiply_quad_rings(const ElementProduct& product, int form, int tile,
                         const std::byte* ordered, Dtype dtype, const DeviceInfo& device,
                         Stream stream) {
  const int tokens = kQuadRingTiles[static_cast<std::size_t>(tile)];
  QuadRingArguments p;
  static_cast<ElementProduct&>(p) = product;
  p.split = split_quad_rings(p.weight.layout, tokens, (p.tokens + tokens - 1) / tokens,
                             device.multiprocessors);
  p.places = quad_ring_places(kQuadForms[static_cast<std::size_t>(form)], tokens, p.split);
  p.ordered = ordered;
  (dtype == Dtype::f16 ? launch_quad_rings_f16 : launch_quad_rings_bf16)(p, form, tile, stream);
}
#endif

void multiply_quads(const ElementProduct& product, int tile_tokens, const ElementPacked& packed,
                    Dtype dtype, const DeviceInfo& device, std::byte* workspace, Stream stream) {
#if COPPICE_CUDA_WGMMA
  const int number = packed.info.quad_form, ring = quad_ring_tile(tile_tokens);
  const QuadForm& form = kQuadForms[static_cast<std::size_t>(number)];
  QuadArguments p;
  static_cast<ElementProduct&>(p) = product;
  p.ordered = workspace;
  p.blocks = ring >= 0 ? quad_slots(p.weight.layout) * slot_blocks(form)
                       : quad_blocks(form, p.weight.layout);
  launch_quad_order(p, tile_tokens, stream);
  if (ring >= 0) {
    multiply_quad_rings(product, number, ring, workspace, dtype, device, stream);
    return;
  }
  const int tile = quad_register_tile(tile_tokens);
  p.split = packed.info.quad_splits[static_cast<std::size_t>(tile)];
  (dtype == Dtype::f16 ? launch_quads_f16 : launch_quads_bf16)(p, number, tile, stream);
#else
  (void)product, (void)tile_tokens, (void)packed, (void)dtype, (void)device, (void)workspace,
      (void)stream;
#endif
}

#if COPPICE_CUDA_WGMMA
void multiply_ring(const ElementProduct& product, const Selection& selection, Dtype dtype,
                   const DeviceInfo& device, Stream stream) {
  const RingShape& shape = ring_shape(selection.shape);
  RingArguments p;
  static_cast<ElementProduct&>(p) = product;
  const ElementLayout& l = p.weight.layout;
  p.window = ring_window(l);
  p.stage = ring_stage(shape, p.window.columns, ring_lists(l.vec_rows), device.shared_bytes);
  p.row_tiles = (l.rows + shape.rows() - 1) / shape.rows();
  p.token_tiles = (p.tokens + shape.tokens() - 1) / shape.tokens();
  p.token_group = selection.token_group;
  const CUtensorMap x = ring_map(
      {p.x, dtype, p.tokens, l.cols, p.x_column, p.window.columns, p.window.shift, kRingPanel});
  const CUtensorMap values =
      piece_map(p.weight.values, dtype, 2 * l.units(), l.pieces, 1, shape.rows() / 8);
  launch_ring(p, x, values, shape, dtype, device.multiprocessors, stream);
}
#endif

// x is feature-major here.
void multiply_window(const ElementProduct& product, const Selection& selection,
                     const ElementPacked& packed, Dtype dtype, const DeviceInfo& device,
                     Stream stream) {
#if COPPICE_CUDA_WGMMA
  if (is_ring(selection.shape)) {
    multiply_ring(product, selection, dtype, device, stream);
    return;
  }
#endif
  const WindowShape& shape = kWindowShapes[static_cast<std::size_t>(selection.shape)];
  WindowArguments p;
  static_cast<ElementProduct&>(p) = product;
  const ElementLayout& l = p.weight.layout;
  p.stage = window_stage(shape, packed.window.columns, device.shared_bytes);
  p.row_tiles = (l.rows + shape.rows() - 1) / shape.rows();
  p.token_tiles = (p.tokens + shape.tokens - 1) / shape.tokens;
  p.token_group = selection.token_group;
  CUtensorMap boxes = {};
#if COPPICE_CUDA_WGMMA
  p.boxes = packed.window.boxes && (p.tokens % shape.tokens == 0 || p.tokens >= kMostRagged);
  if (p.boxes)
    boxes = tensor_map({p.x, dtype, p.tokens, l.cols, p.x_column, shape.tokens, p.stage.box_rows,
                        shape.tokens == 64 ? Swizzled::bytes_128 : Swizzled::bytes_64});
#endif
  launch_window(p, boxes, selection.shape, dtype, device.multiprocessors, packed.overlaps, stream);
}

}  // namespace

void multiply_element(const Selection& selection, const ElementPacked& packed, const Matrix& x,
                      const EpilogueArguments& epilogue, Dtype dtype, const DeviceInfo& device,
                      std::byte* workspace, Stream stream) {
  ElementProduct p;
  p.weight = packed.weight;
  p.x = x.data;
  const bool token_major = x.layout == Layout::token_major;
  p.x_token = token_major ? x.major_stride() : 1;
  p.x_column = token_major ? 1 : x.major_stride();
  const std::int64_t bytes = dtype_bytes(dtype);
  p.wide = p.x_column == 1 && reinterpret_cast<std::uintptr_t>(x.data) % 16 == 0 &&
           (x.tokens == 1 || p.x_token * bytes % 16 == 0);
  p.tall = p.x_token == 1 && p.x_column != 1 &&
           reinterpret_cast<std::uintptr_t>(x.data) % 16 == 0 && p.x_column * bytes % 16 == 0;
  p.tokens = static_cast<std::int32_t>(x.tokens);
  p.epilogue = epilogue;
  if (selection.family == Family::window)
    multiply_window(p, selection, packed, dtype, device, stream);
#if COPPICE_CUDA_WGMMA
  // A permutation's activations would come one by one.
  else if (is_held(selection) && p.weight.sources == nullptr)
    multiply_held(p, selection.tile_tokens, packed, dtype, device, stream);
#endif
  else if (selection.family == Family::fragments)
    multiply_fragments(p, selection.tile_tokens, packed, dtype, stream);
  else if (selection.family == Family::quads)
    multiply_quads(p, selection.tile_tokens, packed, dtype, device, workspace, stream);
  else
    launch_element_lookup({p, packed.info.lookup_split}, dtype, selection.tile_tokens,
                          packed.overlaps, stream);
}

}  // namespace coppice::cuda
