#include "cuda/model/model.h"

#include "cuda/blocked/blocked_select.h"

namespace coppice::cuda::model {

std::string_view limit_name(Limit limit) {
  switch (limit) {
    case Limit::memory:
      return "memory";
    case Limit::tensor:
      return "tensor";
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

const Constants& constants_of(const DeviceInfo&) {
  static constexpr Constants kBuiltIn;
  return kBuiltIn;
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
      return window_cost(kWindowShapes[static_cast<std::size_t>(s.shape)], p, device);
    case Family::gather:
      return gather_cost(tile(), s.slices, p, device);
    case Family::fragments:
      return p.gathers ? fragments_cost(s.tile_tokens, p, device) : Cost{};
    case Family::lookup:
      break;
    case Family::blocked:
      return blocked_cost(s, p, device);
  }
  return {};
}

}  // namespace

Cost predict(const Selection& s, const ProductInfo& p, const DeviceInfo& device) {
  Cost cost = kernel_cost(s, p, device);
  if (s.family == Family::decode || is_element_family(s.family) || s.family == Family::blocked)
    return cost;
  const Constants& c = constants_of(device);
  const int block_bytes = s.family == Family::gather ? kBlockRows * kStepCols * 2 : kRecordBytes;
  const double weight = static_cast<double>(p.blocks * p.steps) * block_bytes;
  cost.memory = weight / c.memory_bytes;
  if (cost.memory > cost.seconds) {
    cost.seconds = cost.memory;
    cost.limit = Limit::memory;
  }
  const double ends = s.family == Family::gather ? c.gather.ends_seconds : c.ends_seconds;
  const double outside = ends + (s.transpose || s.repack ? c.copy_seconds : 0);
  cost.launch += outside;
  cost.seconds += outside;
  return cost;
}

}  // namespace coppice::cuda::model
