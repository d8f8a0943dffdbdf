#include "cuda/model/model.h"

#include "cuda/blocked/blocked_select.h"
#include "cuda/element/held_select.h"

namespace coppice::cuda::model {

std::string_view limit_name(Limit limit) {
  switch (limit) {
    case Limit::memory:
      return "memory";
    case Limit::tensor:
      return "tensor";
    case Limit::cores:
      return "CUDA cores";
    case Limit::l2:
      return "L2";
    case Limit::shared:
      return "shared memory";
    case Limit::latency:
      return "latency";
    case Limit::launch:
      return "launch";
  }
  return "";
}

const Constants& constants_of(const DeviceInfo& device) {
  static constexpr Constants kBuiltIn;
  return device.constants != nullptr ? *device.constants : kBuiltIn;
}

namespace {

Cost kernel_cost(const Selection& s, const ProductInfo& p, const DeviceInfo& device) {
  const auto tile = [&]() -> const WgmmaShape& {
    return kWgmmaShapes[static_cast<std::size_t>(s.shape)];
  };
  switch (s.family) {
    case Family::wgmma:
      return wgmma_cost(tile(), s.slices, p, device);
    case Family::expand:
      return expand_cost(tile(), s.slices, p, device);
    case Family::mma:
      return mma_cost(s.mma, p, device);
    case Family::decode:
      return decode_cost(s.decode, p, device);
    case Family::window:
      return window_cost(s.shape, p, device);
    case Family::gather:
      return gather_cost(tile(), s.slices, p, device);
    case Family::fragments:
      return is_held(s) ? held_cost(s.tile_tokens, p, device)
                        : fragments_cost(s.tile_tokens, p, device);
    case Family::quads:
      return quads_cost(s.tile_tokens, p, device);
    case Family::lookup:
      return lookup_cost(s.tile_tokens, p, device);
    case Family::blocked:
      return blocked_cost(s, p, device);
    case Family::unpack:
    case Family::two_four:
      return unpack_cost(s, p, device);
  }
  return {};
}

}  // namespace

// A transpose or copy reads and writes all activations, and the product then waits for its end.
Cost predict(const Selection& s, const ProductInfo& p, const DeviceInfo& device) {
  Cost cost = kernel_cost(s, p, device);
  // Of a blocked product it is in its own cost.
  if ((!s.transpose && !s.repack) || s.family == Family::blocked) return cost;
  const Constants::Transpose& c = constants_of(device).transpose;
  const double bytes = 4.0 * static_cast<double>(p.cols) * static_cast<double>(p.tokens);
  const double before =
      c.ends_seconds + bytes / (constants_of(device).memory_bytes * c.memory_share);
  cost.launch += before;
  cost.seconds += before;
  return cost;
}

}  // namespace coppice::cuda::model
