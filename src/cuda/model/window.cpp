// Windows: vectors of 16 rows and more, many tokens.
#include <algorithm>

#include "cuda/model/model.h"
#include "cuda/model/tiles.h"
#include "cuda/window/ring_layout.h"

namespace coppice::cuda::model {
namespace {

// For every piece of 32 values of a row: the weights' way from memory, which nothing hides where
// little is multiplied, and reads of shared memory and products for every row and token, more of
// the former with more lists.
Cost cost_of(const WindowShape& s, const ProductInfo& p, const DeviceInfo& device) {
  const double clock_hz = constants_of(device).clock_hz;
  const Constants::Window& c = constants_of(device).window;
  const WindowStage stage = window_stage(s, p.window.columns, device.shared_bytes);
  const std::int64_t tiles = ceil_div(p.window.rows, s.rows()) * ceil_div(p.tokens, s.tokens);
  const auto [together, rounds] = rounds_of(tiles, std::max(1, stage.residents), device);
  const double pieces = rounds * p.window.pieces / clock_hz;
  const double outputs =
      s.rows() * s.tokens * (c.row_token_clocks + c.list_clocks * p.window.vectors);
  Cost cost;
  cost.latency = pieces * (c.latency_clocks + together * outputs) * (p.window.boxes ? 1 : c.copied);
  cost.launch = rounds * c.fill_clocks / clock_hz + c.ends_seconds;
  cost.combine();
  return cost;
}

// For every piece of 32 values of a row: what the warps that multiply take, more where their reads
// meet in the same banks, or the window and the values from L2.
Cost cost_of(const RingShape& s, const ProductInfo& p, const DeviceInfo& device) {
  const Constants& constants = constants_of(device);
  const Constants::Ring& c = constants.ring;
  const ElementLayout& l = p.element.layout;
  const RingWindow window = ring_window(l);
  const std::int64_t tiles = ceil_div(p.window.rows, s.rows()) * ceil_div(p.tokens, s.tokens());
  const double rounds = rounds_of(tiles, 1, device).rounds;
  const double panel = c.panel_clocks + (ring_lists(l.vec_rows) > 1 ? c.list_clocks : 0) +
                       (window.shift < ring_shift(l) ? c.conflict_clocks : 0);
  const double pieces = rounds * l.pieces;
  Cost cost;
  cost.latency = pieces * (c.step_clocks + s.panels * panel) / constants.clock_hz;
  const double bytes = 2.0 * window.columns * s.tokens() + s.weight_bytes();
  const int stages =
      ring_stage(s, window.columns, ring_lists(l.vec_rows), device.shared_bytes).stages;
  cost.l2 = pieces * device.multiprocessors * bytes * (stages > 2 ? 1 : c.two_stages) /
            (c.l2_share * constants.l2_bytes);
  cost.launch = rounds * c.fill_clocks * s.panels / 2 / constants.clock_hz + c.ends_seconds;
  cost.combine();
  return cost;
}

}  // namespace

Cost window_cost(int shape, const ProductInfo& p, const DeviceInfo& device) {
  if (is_ring(shape)) return cost_of(ring_shape(shape), p, device);
  return cost_of(kWindowShapes[static_cast<std::size_t>(shape)], p, device);
}

}  // namespace coppice::cuda::model
