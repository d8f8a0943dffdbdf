#include "cuda/multiply.h"

#include <fmt/format.h>

#include <algorithm>

#include "coppice/cuda.h"
#include "coppice/error.h"
#include "core/rounding.h"
#include "cuda/blocked/blocked_product.h"
#include "cuda/check.h"
#include "cuda/describe.h"
#include "cuda/element/element_product.h"
#include "cuda/element/gather_lists.h"
#include "cuda/kernels/arguments.h"
#include "cuda/kernels/decode.h"
#include "cuda/kernels/sparse_mma.h"
#include "cuda/kernels/sparse_wgmma.h"
#include "cuda/kernels/transpose.h"
#include "cuda/same_device.h"
#include "cuda/select.h"
#include "cuda/unpack/unpack_product.h"
#include "cuda/weight.h"

namespace coppice::cuda {
namespace {

bool aligned_16(const void* data) { return reinterpret_cast<std::uintptr_t>(data) % 16 == 0; }

std::string shape_of(std::int64_t tokens, std::int64_t features) {
  return fmt::format("[{} tokens, {} features]", tokens, features);
}

template <typename T>
void check_matrix(const BasicMatrix<T>& m, const char* name, std::int64_t features,
                  const PackedWeight& weight) {
  if (m.features != features || m.tokens < 0)
    throw InvalidArgument(fmt::format("{} is {}, but a weight of {} x {} needs {} features", name,
                                      shape_of(m.tokens, m.features), weight.rows(), weight.cols(),
                                      features));
  const std::int64_t least = m.layout == Layout::token_major ? m.features : m.tokens;
  if (m.stride != 0 && m.stride < least)
    throw InvalidArgument(
        fmt::format("{} has a stride of {} elements, needs at least {}", name, m.stride, least));
  if (m.data == nullptr && m.tokens > 0 && m.features > 0)
    throw InvalidArgument(fmt::format("{} has no data", name));
  if (m.tokens > std::int64_t{1} << 30 || m.major_stride() >= std::int64_t{1} << 31)
    throw InvalidArgument(fmt::format("{} is {}: more than 2^30 tokens; split it", name,
                                      shape_of(m.tokens, m.features)));
}

}  // namespace

void check_arguments(const PackedWeight& weight, const Matrix& x, const MutableMatrix& y,
                     const Epilogue& epilogue) {
  check_matrix(x, "x", weight.cols(), weight);
  check_matrix(y, "y", weight.rows(), weight);
  if (x.tokens != y.tokens)
    throw InvalidArgument(
        fmt::format("x has {} tokens and y {}: they must be the same", x.tokens, y.tokens));
  if (x.dtype != weight.dtype())
    throw InvalidArgument(fmt::format("x is {}, but the weight is {}: convert one of them",
                                      dtype_name(x.dtype), dtype_name(weight.dtype())));
  if (y.dtype != weight.dtype() && y.dtype != Dtype::f32)
    throw InvalidArgument(fmt::format("y is {}, needs to be {} or F32", dtype_name(y.dtype),
                                      dtype_name(weight.dtype())));
  if (epilogue.bias != nullptr && epilogue.bias_dtype != Dtype::f32 &&
      epilogue.bias_dtype != weight.dtype())
    throw InvalidArgument(fmt::format("the bias is {}, needs to be F32 or {}",
                                      dtype_name(epilogue.bias_dtype), dtype_name(weight.dtype())));
  if (epilogue.factor != nullptr && epilogue.residual != nullptr)
    throw InvalidArgument("a factor and a residual: one product takes only one of them");
}

ProductInfo product_info(const PackedWeight& weight, const Matrix& x,
                         const MultiplyOptions& options) {
  ProductInfo product = weight.impl().product;
  product.tokens = x.tokens;
  product.token_major = x.layout == Layout::token_major;
  product.aligned = aligned_16(x.data) && x.major_stride() % 8 == 0;
  product.batch_invariant = options.batch_invariant;
  product.f32_products = options.f32_products;
  return product;
}

Selection select_for(const PackedWeight& weight, const Matrix& x, const MultiplyOptions& options) {
  const PackedWeight::Impl& impl = weight.impl();
  const ProductInfo product = product_info(weight, x, options);
  const Selection untuned = select(product, impl.device_info);
  return impl.tuned != nullptr ? impl.tuned->apply(untuned, product) : untuned;
}

namespace {

ProductInfo product_of(const PackedWeight& weight, std::int64_t tokens) {
  ProductInfo product = weight.impl().product;
  product.tokens = tokens;
  return product;
}

void check_workspace(const Selection& selection, const PackedWeight& weight, const Matrix& x,
                     const Workspace& workspace) {
  const std::int64_t needed = workspace_bytes_of(selection, weight, x.tokens);
  if (needed == 0) return;
  if (workspace.data == nullptr || workspace.bytes < needed)
    throw InvalidArgument(
        fmt::format("a workspace of {} bytes for x {} in this layout, needs {} "
                    "(see workspace_bytes)",
                    workspace.bytes, shape_of(x.tokens, x.features), needed));
  if (reinterpret_cast<std::uintptr_t>(workspace.data) % 256 != 0)
    throw InvalidArgument("the workspace needs to start on 256 bytes");
}

bool copies(const Selection& selection) { return selection.transpose || selection.repack; }

// Makes x feature-major and aligned, where the kernel needs that.
Matrix prepare(const Selection& selection, const Matrix& x, const Workspace& workspace,
               Stream stream) {
  if (!copies(selection) || x.features == 0) return x;
  Matrix copy = x;
  copy.data = workspace.data;
  copy.layout = Layout::feature_major;
  copy.stride = copy_stride(x.tokens);
  TransposeArguments t;
  t.from = x.data;
  t.from_stride = x.major_stride();
  t.rows = selection.transpose ? x.tokens : x.features;
  t.cols = selection.transpose ? x.features : x.tokens;
  t.to = workspace.data;
  t.to_stride = t.to_width = copy.stride;
  if (selection.transpose)
    launch_transpose(t, dtype_bytes(x.dtype), stream);
  else
    launch_realign(t, dtype_bytes(x.dtype), stream);
  return copy;
}

EpilogueArguments epilogue_arguments(const MutableMatrix& y, const Epilogue& epilogue) {
  EpilogueArguments e;
  e.y = y.data;
  e.y_stride = y.major_stride();
  e.multiplies = epilogue.factor != nullptr;
  e.residual = e.multiplies ? epilogue.factor : epilogue.residual;
  e.bias = epilogue.bias;
  e.alpha = epilogue.alpha;
  e.activation = epilogue.activation;
  e.token_major = y.layout == Layout::token_major;
  e.f32_out = y.dtype == Dtype::f32;
  e.f32_bias = epilogue.bias_dtype == Dtype::f32;
  e.wide = !e.f32_out && aligned_16(y.data) && e.y_stride % 8 == 0;
  e.wide_residual = e.wide && aligned_16(e.residual);
  return e;
}

// Whether the copy engine may write the outputs of a wgmma kernel, and read what they are combined
// with (kernels/wgmma_residual.h).
bool stages_outputs(const EpilogueArguments& e, int slices) {
  if (e.residual == nullptr) return e.wide;
  return e.wide_residual && e.activation == Activation::none && slices == 1;
}

std::size_t tile_table(int blocks) {
  std::size_t i = 0;
  while (kTileBlocks[i] != blocks) ++i;
  return i;
}

// What the families but those of multiply_element are given; the caller adds the tiles.
ProductArguments arguments_for(const Selection& selection, const PackedWeight::Impl& impl,
                               const Matrix& x, const MutableMatrix& y, const Epilogue& epilogue,
                               int tile_tokens) {
  ProductArguments p;
  p.records = impl.records;
  p.columns = impl.columns;
  p.units = impl.units;
  p.x = x.data;
  p.x_stride = x.major_stride();
  p.rows = static_cast<std::int32_t>(y.features);
  p.cols = static_cast<std::int32_t>(x.features);
  p.tokens = static_cast<std::int32_t>(x.tokens);
  // A copy in the workspace has whole rows.
  p.x_tokens = copies(selection) ? static_cast<std::int32_t>(x.stride) : p.tokens;
  p.steps = static_cast<std::int32_t>(impl.product.steps);
  p.block_count = static_cast<std::int32_t>(impl.product.blocks);
  p.token_tile_count = static_cast<std::int32_t>((x.tokens + tile_tokens - 1) / tile_tokens);
  p.token_group = selection.token_group;
  p.epilogue = epilogue_arguments(y, epilogue);
  return p;
}

void run(const Selection& selection, const PackedWeight& weight, const Matrix& x,
         const MutableMatrix& y, const Epilogue& epilogue, const Workspace& workspace,
         Stream stream) {
  const PackedWeight::Impl& impl = weight.impl();
  auto* lent = static_cast<std::byte*>(workspace.data);
  if (selection.family == Family::unpack) {
    multiply_unpacked(selection, impl.element, product_of(weight, x.tokens), *impl.library, x,
                      epilogue_arguments(y, epilogue), lent, stream);
    return;
  }
  if (selection.family == Family::blocked) {
    multiply_blocked(selection, impl.element, impl.product, impl.device_info, x,
                     epilogue_arguments(y, epilogue), stream);
    return;
  }
  if (is_element_family(selection.family) || selection.family == Family::window) {
    multiply_element(selection, impl.element, x, epilogue_arguments(y, epilogue), impl.dtype,
                     impl.device_info, lent, stream);
    return;
  }
  if (selection.family == Family::decode) {
    const Product product{&weight, y, epilogue};
    run_decode(selection.decode, {&product, 1}, x, stream);
    return;
  }
  if (selection.family == Family::mma) {
    const MmaShape& shape = selection.mma;
    const MmaKernel& kernel = shape.config();
    ProductArguments p = arguments_for(selection, impl, x, y, epilogue, kernel.tile_tokens());
    p.stages = shape.stages;
    p.stage_rows = shape.stage_rows;
    p.row_tile_count = (p.block_count + kernel.row_warps - 1) / kernel.row_warps;
    launch_sparse_mma(shape, impl.dtype, p, impl.device_info, stream);
    return;
  }
#if COPPICE_CUDA_WGMMA
  const WgmmaShape& shape = kWgmmaShapes[static_cast<std::size_t>(selection.shape)];
  ProductArguments p = arguments_for(selection, impl, x, y, epilogue, shape.tile_tokens());
  p.slices = selection.slices;
  p.staged = stages_outputs(p.epilogue, selection.slices);
  if (selection.family == Family::expand) {
    p.row_tile_count = (p.block_count + shape.blocks() - 1) / shape.blocks();
    if (p.columns.group == expand::kOrderedGroup)
      launch_expanded_in_order(selection.shape, selection.token_major, impl.dtype, p,
                               impl.device_info, stream);
    else
      launch_expanded_wgmma(selection.shape, impl.dtype, p, impl.device_info, stream);
    return;
  }
  if (selection.family == Family::gather) {
    set_gathered(impl.element.weight, selection, p);
    launch_dense_wgmma(selection.shape, selection.token_major, impl.dtype, p, impl.device_info,
                       stream);
    return;
  }
  if (selection.family == Family::two_four) {
    const ProductInfo product = product_of(weight, x.tokens);
    const WorkspacePlaces at = workspace_places(selection, product);
    if (product.packing == Packing::elements)
      unpack_two_four(impl.element, product, at, lent, shape.rows(), p, stream);
    else
      spread_two_four(product, at, lent, shape.rows(), p, stream);
    if (as_two_four(product).slots) {
      launch_spread_wgmma(selection.shape, impl.dtype, p, impl.device_info, stream);
      return;
    }
  } else {
    const std::size_t table = tile_table(shape.blocks());
    p.row_tiles = impl.tiles[table];
    p.row_tile_count = impl.tile_counts[table];
  }
  launch_sparse_wgmma(selection.shape, selection.token_major, impl.dtype, p, impl.device_info,
                      stream);
#endif
}

}  // namespace

void run_decode(const DecodeShape& shape, std::span<const Product> products, const Matrix& x,
                Stream stream) {
  const PackedWeight::Impl& first = products[0].weight->impl();
  Selection selection;
  selection.family = Family::decode;
  DecodeArguments a;
  a.shape = shape;
  a.weights = static_cast<int>(products.size());
  for (std::size_t i = 0; i < products.size(); ++i) {
    const Product& one = products[i];
    a.product[i] =
        arguments_for(selection, one.weight->impl(), x, one.y, one.epilogue, shape.tokens);
    a.first_tile[i] = a.row_tiles;
    a.row_tiles += (a.product[i].block_count + shape.row_warps - 1) / shape.row_warps;
  }
  a.x_token_major = x.layout == Layout::token_major;
  a.x_wide = aligned_16(x.data) && x.major_stride() % 8 == 0;
  a.shared_window = !first.product.regular;
  launch_decode(a, first.dtype, first.product.in_order ? 0 : first.product.block_vectors,
                first.device_info, stream);
}

bool reads_in_place(const Grid& grid, Dtype dtype, bool permuted, std::int64_t tokens,
                    Layout layout) {
  const DeviceInfo& device = device_info(current_device());
  ProductInfo product = describe(grid, dtype, permuted, device);
  product.tokens = tokens;
  product.token_major = layout == Layout::token_major;
  return !copies(select(product, device));
}

std::int64_t workspace_bytes(const PackedWeight& weight, const Matrix& x,
                             const MultiplyOptions& options) {
  check_matrix(x, "x", weight.cols(), weight);
  return workspace_bytes_of(select_for(weight, x, options), weight, x.tokens);
}

std::int64_t workspace_bytes_of(const Selection& selection, const PackedWeight& weight,
                                std::int64_t tokens) {
  const bool needs = selection.family == Family::unpack || selection.family == Family::two_four ||
                     selection.family == Family::quads;
  if (!needs && !copies(selection)) return 0;  // most calls
  return workspace_places(selection, product_of(weight, tokens)).bytes;
}

void multiply(const PackedWeight& weight, const Matrix& x, const MutableMatrix& y,
              const Epilogue& epilogue, const Workspace& workspace, Stream stream,
              const MultiplyOptions& options) {
  check_arguments(weight, x, y, epilogue);
  if (several_devices()) check_same_device(weight, x, y, epilogue, workspace, stream);
  multiply_by(select_for(weight, x, options), weight, x, y, epilogue, workspace, stream);
}

void multiply_by(const Selection& selection, const PackedWeight& weight, const Matrix& x,
                 const MutableMatrix& y, const Epilogue& epilogue, const Workspace& workspace,
                 Stream stream) {
  if (x.tokens == 0 || weight.rows() == 0) return;
  const DeviceGuard guard(weight.device());
  check_workspace(selection, weight, x, workspace);
  const Matrix ready = prepare(selection, x, workspace, stream);
  run(selection, weight, ready, y, epilogue, workspace, stream);
}

namespace {

// Weights that multiply the same x into one y.
void check_pair(const PackedWeight& gate, const PackedWeight& up) {
  if (gate.rows() != up.rows() || gate.cols() != up.cols())
    throw InvalidArgument(fmt::format("gate is {} x {} and up {} x {}: they must be the same",
                                      gate.rows(), gate.cols(), up.rows(), up.cols()));
  if (gate.dtype() != up.dtype() || gate.device() != up.device())
    throw InvalidArgument(
        fmt::format("gate is {} on device {} and up {} on device {}: they must "
                    "be the same",
                    dtype_name(gate.dtype()), gate.device(), dtype_name(up.dtype()), up.device()));
}

}  // namespace

std::int64_t gated_workspace_bytes(const PackedWeight& gate, const PackedWeight& up,
                                   const Matrix& x, const MultiplyOptions& options) {
  return std::max(workspace_bytes(gate, x, options), workspace_bytes(up, x, options));
}

// The gate's part waits in y itself, rounded to its dtype, and every thread of the second product
// multiplies by the elements that it will overwrite.
void multiply_gated(const PackedWeight& gate, const PackedWeight& up, const Matrix& x,
                    const MutableMatrix& y, const Epilogue& gate_epilogue,
                    const Epilogue& up_epilogue, const Workspace& workspace, Stream stream,
                    const MultiplyOptions& options) {
  check_pair(gate, up);
  check_arguments(gate, x, y, gate_epilogue);
  check_arguments(up, x, y, up_epilogue);
  if (gate_epilogue.residual != nullptr || gate_epilogue.factor != nullptr ||
      up_epilogue.residual != nullptr || up_epilogue.factor != nullptr)
    throw InvalidArgument("a gated product takes no residual and no factor");
  if (several_devices()) {
    check_same_device(gate, x, y, gate_epilogue, workspace, stream);
    check_same_device(up, x, y, up_epilogue, workspace, stream);
  }
  if (x.tokens == 0 || gate.rows() == 0) return;
  const DeviceGuard guard(gate.device());
  const Selection gate_way = select_for(gate, x, options), up_way = select_for(up, x, options);
  check_workspace(gate_way, gate, x, workspace);
  check_workspace(up_way, up, x, workspace);
  const Matrix gate_x = prepare(gate_way, x, workspace, stream);
  run(gate_way, gate, gate_x, y, gate_epilogue, workspace, stream);
  // Where both want a copy of x, they want the same one.
  const Matrix up_x =
      copies(gate_way) && copies(up_way) ? gate_x : prepare(up_way, x, workspace, stream);
  Epilogue last = up_epilogue;
  last.factor = y.data;
  run(up_way, up, up_x, y, last, workspace, stream);
}

std::string kernel_name(const PackedWeight& weight, std::int64_t tokens, Layout layout,
                        const MultiplyOptions& options) {
  Matrix x;
  x.tokens = tokens;
  x.features = weight.cols();
  x.layout = layout;
  x.stride = round_up(layout == Layout::token_major ? x.features : tokens, 8);
  return selection_name(select_for(weight, x, options));
}

}  // namespace coppice::cuda
