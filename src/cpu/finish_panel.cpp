// Stores a panel's sums: epilogue, both layouts of y.
#include <algorithm>

#include "cpu/few_tokens.h"
#include "cpu/target.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/finish_panel.cpp"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
//
#include "cpu/epilogue-inl.h"
#include "cpu/lookup-inl.h"

HWY_BEFORE_NAMESPACE();
namespace coppice::cpu::HWY_NAMESPACE {

void finish_in_place(const Panel& panel, float* sums, int tokens, const Epilogue& epilogue) {
  if (is_identity(epilogue)) return;
  const LaneTag d;
  constexpr std::size_t kLanes = hn::MaxLanes(LaneTag());
  alignas(64) float bias[kPanelRows] = {};
  if (!epilogue.bias.empty()) std::copy_n(epilogue.bias.data() + panel.row, panel.rows, bias);
  const Lanes alpha = hn::Set(d, epilogue.alpha);
  for (int t = 0; t < tokens; ++t, sums += kPanelRows)
    for (std::size_t i = 0; i < kPanelRows; i += kLanes)
      hn::StoreU(
          finish(d, hn::LoadU(d, sums + i), alpha, hn::LoadU(d, bias + i), epilogue.activation), d,
          sums + i);
}

}  // namespace coppice::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace coppice::cpu {
namespace {
HWY_EXPORT(finish_in_place);
}  // namespace

void finish_sums(const Panel& panel, float* sums, int tokens, const Epilogue& epilogue) {
  HWY_DYNAMIC_DISPATCH(finish_in_place)(panel, sums, tokens, epilogue);
}

void finish_panel(const Panel& panel, float* sums, std::int64_t token, int tokens,
                  const MutableActivations& y, const Epilogue& epilogue) {
  finish_sums(panel, sums, tokens, epilogue);
  for (int t = 0; t < tokens; ++t, sums += kPanelRows) {
    if (y.layout == Layout::token_major)
      std::copy_n(sums, panel.rows, &y.at(token + t, panel.row));
    else
      for (int lane = 0; lane < panel.rows; ++lane) y.at(token + t, panel.row + lane) = sums[lane];
  }
}

}  // namespace coppice::cpu
#endif  // HWY_ONCE
