#include "cpu/many_tokens_plan.h"

#include <algorithm>

namespace coppice::cpu {
namespace {

int round_up(std::int64_t value, int unit) {
  return static_cast<int>((value + unit - 1) / unit) * unit;
}

}  // namespace

std::vector<TokenPass> token_passes(std::int64_t tokens) {
  std::vector<TokenPass> passes;
  const std::int64_t count = (tokens + kMaxPassTokens - 1) / kMaxPassTokens;
  const int length =
      count == 1 ? static_cast<int>(tokens)
                 : round_up((tokens + count - 1) / std::max<std::int64_t>(count, 1), kMaxPitch);
  for (std::int64_t token = 0; token < tokens; token += length) {
    const int in_pass = static_cast<int>(std::min<std::int64_t>(length, tokens - token));
    passes.push_back({token, in_pass, std::min(kMaxPitch, round_up(in_pass, kStripTokens))});
  }
  return passes;
}

std::vector<std::int32_t> slot_windows(const PackedLayout& layout) {
  std::vector<std::int32_t> windows;
  if (layout.format == WeightFormat::shared) return windows;
  windows.reserve(static_cast<std::size_t>(layout.slots));
  for (const SlotRun& run : layout.runs)
    for (std::int64_t group = 0; group < run.groups; ++group)
      windows.insert(windows.end(), static_cast<std::size_t>(run.slots),
                     static_cast<std::int32_t>(run.x_begin + group * run.x_step));
  return windows;
}

std::vector<SlotBlock> slot_blocks(const PackedLayout& layout,
                                   const std::vector<std::int32_t>& windows, int pitch) {
  const std::int64_t reach = layout.format == WeightFormat::shared ? 1 : layout.window;
  const std::int64_t room = kBlockBytes / (pitch * std::int64_t{sizeof(float)});
  std::vector<SlotBlock> blocks;
  for (std::int64_t slot = 0; slot < layout.slots; ++slot) {
    const std::int64_t begin = windows.empty() ? slot : windows[static_cast<std::size_t>(slot)];
    const std::int64_t end = std::min(begin + reach, layout.x_length);
    const bool fits = !blocks.empty() && blocks.back().slots < kMaxBlockSlots &&
                      begin >= blocks.back().position &&
                      end - blocks.back().position <= std::max(room, reach);
    if (!fits) blocks.push_back({slot, 0, begin, 0});
    SlotBlock& block = blocks.back();
    ++block.slots;
    block.positions = std::max(block.positions, static_cast<int>(end - block.position));
  }
  return blocks;
}

int chunk_panels(const PackedWeight::Impl& weight, int threads) {
  const std::int64_t panels = std::ssize(weight.panels);
  std::int64_t same_list = 1;
  if (weight.layout.list_per_vector)
    same_list = std::clamp<std::int64_t>(weight.pattern.vec_rows / kPanelRows, 1, kMaxChunkPanels);
  constexpr std::int64_t kTasksPerThread = 4;
  const std::int64_t wanted = std::clamp<std::int64_t>(
      panels / (std::max(threads, 1) * kTasksPerThread), 1, kMaxChunkPanels);
  return static_cast<int>((wanted + same_list - 1) / same_list * same_list) > kMaxChunkPanels
             ? static_cast<int>(kMaxChunkPanels / same_list * same_list)
             : static_cast<int>((wanted + same_list - 1) / same_list * same_list);
}

}  // namespace coppice::cpu
