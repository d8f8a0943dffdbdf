// Fragments of weights with lists, where Family::gather is the other choice.
#include "cuda/model/model.h"
#include "cuda/model/tiles.h"

namespace coppice::cuda::model {

// A weight is read once for a tile of tokens; how long that takes grows with the tile. Fitted to
// vectors of 32 to 128 rows.
Cost passes_cost(int tile_tokens, const ProductInfo& p, const DeviceInfo& device) {
  const Constants::Passes& c = constants_of(device).passes;
  const double millions = 1e-6 * static_cast<double>(p.blocks * p.steps) * kBlockRows * kStepCols;
  const auto passes = static_cast<double>(ceil_div(p.tokens, tile_tokens));
  Cost cost;
  cost.launch = 1e-6 * passes * (c.pass + c.pass_token * tile_tokens);
  cost.shared = 1e-6 * passes * millions * (c.million + c.million_token * tile_tokens);
  cost.combine();
  return cost;
}

}  // namespace coppice::cuda::model
