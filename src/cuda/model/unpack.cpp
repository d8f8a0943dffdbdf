// Weights that are expanded to another form first.
#include <algorithm>

#include "cuda/model/model.h"
#include "cuda/model/tiles.h"

namespace coppice::cuda::model {
namespace {

double count(auto value) { return static_cast<double>(value); }

// Of the product that follows.
Cost product_cost(const Selection& s, const ProductInfo& p, const DeviceInfo& device) {
  if (s.family == Family::two_four)
    return wgmma_cost(kWgmmaShapes[static_cast<std::size_t>(s.shape)], s.slices, as_two_four(p),
                      device);
  const Constants& levels = constants_of(device);
  const Dtype dtype = p.element_bytes() == 4 ? Dtype::f32 : Dtype::f16;
  Cost cost = dense_cost(dtype, p.rows, p.cols, p.tokens, device);
  if (s.shape == 1)
    cost.tensor = 2 * count(p.rows) * count(p.cols) * count(p.tokens) /
                  (levels.dense.tf32_share * levels.tensor_flops);
  if (!p.aligned && dtype != Dtype::f32) cost.tensor *= levels.unpack.loose;
  cost.combine();
  return cost;
}

}  // namespace

// The packed weight is read and its other form written, and instructions put every value in its
// place; these add up (docs/performance/unpack.md). The product waits for the end of that.
Cost unpack_cost(const Selection& s, const ProductInfo& p, const DeviceInfo& device) {
  const Constants& levels = constants_of(device);
  const Constants::Unpack& c = levels.unpack;
  const ElementLayout& l = p.element.layout;
  const bool spreads = p.packing == Packing::records;
  const ProductInfo records = as_two_four(p);
  const double out = s.family == Family::two_four
                         ? count(records.blocks * records.steps) * kRecordBytes
                         : count(p.rows) * count(p.cols) * p.element_bytes();
  const double in =
      spreads ? count(p.blocks * p.steps) * kRecordBytes : count(value_bytes(l) + choice_bytes(l));
  const double values = spreads ? 0 : count(value_bytes(l)) / p.element_bytes();
  const double quads =
      s.family == Family::two_four ? count(records.blocks * records.steps) * kBlockRows * 16 : 0;
  const double before =
      c.ends_seconds + (in + out) / (levels.memory_bytes * c.memory_share) +
      (values * c.value_clocks + quads * (spreads ? c.spread_quad_clocks : c.quad_clocks)) / 32 /
          (4.0 * device.multiprocessors * levels.clock_hz);
  Cost cost = product_cost(s, p, device);
  cost.launch += before;
  cost.seconds += before;
  return cost;
}

}  // namespace coppice::cuda::model
