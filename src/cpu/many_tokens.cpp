#include "cpu/many_tokens.h"

#include <algorithm>
#include <array>
#include <limits>
#include <vector>

#include "core/parallel_for.h"
#include "cpu/many_tokens_kernels.h"
#include "cpu/many_tokens_plan.h"
#include "cpu/scratch.h"

namespace coppice::cpu {
namespace {

constexpr std::int64_t kPackCols = 256;  // columns that one packing task copies

// What a worker needs for a chunk.
struct WorkerScratch {
  Scratch sums, decoded, offsets;
};

WorkerScratch& worker_scratch() {
  thread_local WorkerScratch scratch;
  return scratch;
}

// One pass of up to 256 tokens over the weight.
class Pass {
 public:
  Pass(const PackedWeight::Impl& weight, const TokenPass& tokens, const Activations& x,
       const MutableActivations& y, const Epilogue& epilogue, float* packed_x)
      : weight_(weight),
        layout_(weight.layout),
        tokens_(tokens),
        x_(x),
        y_(y),
        epilogue_(epilogue),
        packed_x_(packed_x),
        windows_(slot_windows(layout_)),
        blocks_(slot_blocks(layout_, windows_, tokens.pitch)) {}

  // Packs x, then multiplies. Two loops over threads, the second after the first.
  void run(int threads) {
    const std::int64_t pieces = (weight_.cols + kPackCols - 1) / kPackCols;
    parallel_for(pieces * tokens_.token_panels(), threads, [&](std::int64_t task) {
      pack(static_cast<int>(task / pieces), task % pieces * kPackCols);
    });
    const std::int64_t panels = std::ssize(weight_.panels), chunk = chunk_panels(weight_, threads);
    parallel_for((panels + chunk - 1) / chunk, threads, [&](std::int64_t task) {
      multiply_chunk(task * chunk, std::min(panels, (task + 1) * chunk));
    });
  }

 private:
  // A panel's part of a block, ready to multiply.
  struct ReadyPanel {
    const DecodedWeight* decoded = nullptr;
    const float* values = nullptr;
    const std::uint32_t* offsets = nullptr;
    std::int64_t next = 0;  // TileTask::next
  };

  const float* token_panel(int panel) const {
    return packed_x_ + panel * weight_.cols * tokens_.pitch;
  }
  std::uint32_t pitch_bytes() const {
    return static_cast<std::uint32_t>(tokens_.pitch) * std::uint32_t{sizeof(float)};
  }

  void pack(int panel, std::int64_t begin) const {
    const std::int64_t end = std::min(begin + kPackCols, weight_.cols);
    kernels_.pack_x(x_, tokens_.token + panel * tokens_.pitch, tokens_.panel_tokens(panel),
                    tokens_.pitch, begin, end,
                    packed_x_ + (panel * weight_.cols + begin) * tokens_.pitch);
  }

  void multiply_chunk(std::int64_t begin, std::int64_t end) const {
    const std::int64_t tile = std::int64_t{kPanelRows} * tokens_.pitch;
    float* sums =
        worker_scratch().sums.room<float>(kMaxChunkPanels * tile * kMaxPassTokens / tokens_.pitch);
    std::array<ReadyPanel, kMaxChunkPanels> ready;
    for (const SlotBlock& block : blocks_) {
      prepare(block, begin, end, ready);
      for (int t = 0; t < tokens_.token_panels(); ++t) {
        for (std::int64_t p = begin; p < end; ++p)
          multiply_tile(block, t, weight_.panels[static_cast<std::size_t>(p)],
                        ready[static_cast<std::size_t>(p - begin)],
                        sums + (t * (end - begin) + p - begin) * tile);
      }
    }
    if (blocks_.empty()) std::fill_n(sums, (end - begin) * tile * tokens_.token_panels(), 0.0f);
    for (int t = 0; t < tokens_.token_panels(); ++t) {
      for (std::int64_t p = begin; p < end; ++p)
        kernels_.store_y(weight_.panels[static_cast<std::size_t>(p)],
                         sums + (t * (end - begin) + p - begin) * tile, tokens_.pitch,
                         tokens_.token + t * tokens_.pitch, tokens_.panel_tokens(t), y_, epilogue_);
    }
  }

  void multiply_tile(const SlotBlock& block, int token_panel_index, const Panel& panel,
                     const ReadyPanel& ready, float* sums) const {
    TileTask task;
    task.x = token_panel(token_panel_index);
    task.strips = tokens_.panel_strips(token_panel_index);
    task.pitch = tokens_.pitch;
    task.rows = panel.rows;
    task.slots = block.slots;
    task.decoded = ready.decoded;
    task.values = ready.values;
    task.offsets = ready.offsets;
    task.sums = sums;
    task.first = block.slot == 0;
    task.next = token_panel_index == 0 ? ready.next : 0;
    if (layout_.format == WeightFormat::shared)
      kernels_.multiply_shared(task);
    else
      kernels_.multiply_lanes(task);
  }

  // Decodes a block of all panels of a chunk.
  void prepare(const SlotBlock& block, std::int64_t begin, std::int64_t end,
               std::array<ReadyPanel, kMaxChunkPanels>& ready) const {
    constexpr std::int64_t kBlockWeights = std::int64_t{kMaxBlockSlots} * kPanelRows;
    WorkerScratch& scratch = worker_scratch();
    auto* decoded = scratch.decoded.room<DecodedWeight>(kMaxChunkPanels * kBlockWeights);
    auto* tables = scratch.offsets.room<std::uint32_t>(kMaxChunkPanels * kMaxBlockPositions);
    for (std::int64_t p = begin; p < end; ++p) {
      const Panel& panel = weight_.panels[static_cast<std::size_t>(p)];
      ReadyPanel& out = ready[static_cast<std::size_t>(p - begin)];
      const bool same_list =
          p > begin && weight_.panels[static_cast<std::size_t>(p - 1)].list == panel.list;
      std::uint32_t* table = tables + (p - begin) * kMaxBlockPositions;
      out.offsets = same_list ? ready[static_cast<std::size_t>(p - begin - 1)].offsets
                              : fill_offsets(block, panel.list, table);
      // A block's piece of a panel is too short for the processor to fetch the next one by itself.
      const std::int64_t next = p + 1 < end ? weight_.panel_bytes : 0;
      if (layout_.format == WeightFormat::lane) {
        kernels_.decode({&layout_, weight_.dtype, weight_.panel(p), block, windows_.data(),
                         pitch_bytes(), out.offsets, next, decoded});
        out.decoded = decoded;
      } else if (layout_.value_bytes == 4) {
        out.values = reinterpret_cast<const float*>(shared_values(block, p));
        out.next = next;
      } else {
        auto* converted = reinterpret_cast<float*>(decoded);
        kernels_.convert(weight_.dtype, shared_values(block, p), block.slots, next, converted);
        out.values = converted;
      }
      decoded += kBlockWeights;
    }
  }

  // Byte offsets of the rows of x that a block can reach, and zeros behind them. Null where
  // decoding computes them.
  const std::uint32_t* fill_offsets(const SlotBlock& block, std::int64_t list,
                                    std::uint32_t* table) const {
    if (weight_.x_order.empty() && layout_.format == WeightFormat::lane) return nullptr;
    for (int i = 0; i < block.positions; ++i) {
      const std::int64_t position = block.position + i;
      const std::int64_t col =
          weight_.x_order.empty() ? position : weight_.x_order.at(list, position);
      table[i] = static_cast<std::uint32_t>(col) * pitch_bytes();
    }
    std::fill_n(table + block.positions, 16, 0u);
    return table;
  }

  const std::byte* shared_values(const SlotBlock& block, std::int64_t panel) const {
    return weight_.panel(panel) + block.slot * layout_.slot_bytes();
  }

  const ManyTokensKernels& kernels_ = many_tokens_kernels();
  const PackedWeight::Impl& weight_;
  const PackedLayout& layout_;
  const TokenPass& tokens_;
  const Activations& x_;
  const MutableActivations& y_;
  const Epilogue& epilogue_;
  float* packed_x_;
  std::vector<std::int32_t> windows_;
  std::vector<SlotBlock> blocks_;
};

}  // namespace

bool many_tokens_supports(const PackedLayout& layout) {
  constexpr std::int64_t kPitchBytes = std::int64_t{kMaxPitch} * sizeof(float);
  return layout.cols <= std::numeric_limits<std::uint32_t>::max() / kPitchBytes;
}

void many_tokens_multiply(const PackedWeight::Impl& weight, const Activations& x,
                          const MutableActivations& y, const Epilogue& epilogue, int threads) {
  thread_local Scratch x_scratch;
  for (const TokenPass& pass : token_passes(x.tokens)) {
    auto* packed_x =
        x_scratch.room<float>(std::int64_t{pass.token_panels()} * pass.pitch * weight.cols);
    Pass(weight, pass, x, y, epilogue, packed_x).run(threads);
  }
}

}  // namespace coppice::cpu
