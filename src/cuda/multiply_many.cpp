// Products that share their activations.
#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "coppice/cuda.h"
#include "coppice/error.h"
#include "cuda/check.h"
#include "cuda/decode_select.h"
#include "cuda/kernels/decode_sizes.h"
#include "cuda/multiply.h"
#include "cuda/same_device.h"
#include "cuda/weight.h"

namespace coppice::cuda {
namespace {

void check_products(std::span<const Product> products, const Matrix& x) {
  for (const Product& one : products) {
    if (one.weight == nullptr) throw InvalidArgument("a product without a weight");
    check_arguments(*one.weight, x, one.y, one.epilogue);
    if (one.weight->device() != products[0].weight->device())
      throw InvalidArgument(fmt::format("weights on devices {} and {}: one call takes one device",
                                        products[0].weight->device(), one.weight->device()));
  }
}

// Whether a decode kernel can walk through both.
bool of_one_kind(const PackedWeight::Impl& a, const PackedWeight::Impl& b) {
  const ProductInfo &p = a.product, &q = b.product;
  return a.dtype == b.dtype && p.in_order == q.in_order && p.regular == q.regular &&
         p.group == q.group && p.block_vectors == q.block_vectors && p.steps == q.steps;
}

// How the products are run in one launch, if they can be.
std::optional<DecodeShape> shared_launch(std::span<const Product> products, const Matrix& x,
                                         const MultiplyOptions& options) {
  if (products.size() < 2 || products.size() > decode::kMostWeights) return std::nullopt;
  const PackedWeight::Impl& first = products[0].weight->impl();
  ProductInfo all = product_info(*products[0].weight, x, options);
  all.blocks = 0;
  for (const Product& one : products) {
    if (!of_one_kind(first, one.weight->impl()) || one.weight->rows() == 0) return std::nullopt;
    all.blocks += one.weight->impl().product.blocks;
  }
  const Selection selection = select(all, first.device_info);
  if (selection.family != Family::decode) return std::nullopt;
  return selection.decode;
}

}  // namespace

std::int64_t many_workspace_bytes(std::span<const Product> products, const Matrix& x,
                                  const MultiplyOptions& options) {
  check_products(products, x);
  if (shared_launch(products, x, options)) return 0;
  std::int64_t bytes = 0;
  for (const Product& one : products)
    bytes = std::max(bytes, workspace_bytes(*one.weight, x, options));
  return bytes;
}

void multiply_many(std::span<const Product> products, const Matrix& x, const Workspace& workspace,
                   Stream stream, const MultiplyOptions& options) {
  check_products(products, x);
  if (products.empty() || x.tokens == 0) return;
  if (const auto shape = shared_launch(products, x, options)) {
    if (several_devices())
      for (const Product& one : products)
        check_same_device(*one.weight, x, one.y, one.epilogue, workspace, stream);
    const DeviceGuard guard(products[0].weight->device());
    run_decode(*shape, products, x, stream);
    return;
  }
  for (const Product& one : products)
    multiply(*one.weight, x, one.y, one.epilogue, workspace, stream, options);
}

}  // namespace coppice::cuda
