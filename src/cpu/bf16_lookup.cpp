#include "cpu/bf16_lookup.h"

#include <algorithm>
#include <vector>

#include "core/parallel_for.h"
#include "core/rounding.h"
#include "cpu/bf16_lookup_tiles.h"
#include "cpu/few_tokens.h"
#include "cpu/many_tokens_plan.h"
#include "cpu/scratch.h"

namespace coppice::cpu {
namespace {

// Columns of a token in a block: a window may begin in the block's last one. An odd number of cache
// lines, so that tokens do not all lie in the same sets of a cache.
constexpr std::int64_t kPitch = kLookupBlockCols + kLookupCols;
static_assert(kPitch / 32 % 2 == 1 && kPitch % 32 == 0);
constexpr std::int64_t kPackTokens = 32;  // of one piece of work

// Columns of x in the order that the weight reads, position -> column; empty: as they are.
std::vector<std::uint32_t> column_order(const PackedWeight::Impl& weight) {
  if (weight.layout.list_per_vector) return weight.input_permutation;
  std::vector<std::uint32_t> order;
  bool moves = false;
  for (std::int64_t p = 0; p < weight.x_order.length(); ++p) {
    order.push_back(static_cast<std::uint32_t>(weight.x_order.at(0, p)));
    moves = moves || order.back() != p;
  }
  if (!moves) order.clear();
  return order;
}

// Some tokens of x, copied: [blocks of columns][tokens][kPitch].
class XBlocks {
 public:
  XBlocks(const Bf16Kernels& kernels, const Bf16Input& x, std::int64_t token, std::int64_t tokens,
          const std::vector<std::uint32_t>& order, Scratch& scratch, int threads)
      : kernels_(kernels),
        x_(x),
        order_(order),
        tokens_(tokens),
        data_(scratch.room<std::uint16_t>(blocks() * round_up(tokens, kPackTokens) * kPitch)) {
    const std::int64_t pieces = ceil_div(tokens, kPackTokens);
    parallel_for(blocks() * pieces, threads, [&](std::int64_t task) {
      const std::int64_t first = task % pieces * kPackTokens;
      copy(task / pieces, token + first, std::min(kPackTokens, tokens - first),
           data_ + (task / pieces * tokens_ + first) * kPitch);
    });
  }
  const std::uint16_t* at(std::int64_t block, std::int64_t token) const {
    return data_ + (block * tokens_ + token) * kPitch;
  }

 private:
  std::int64_t blocks() const { return ceil_div(x_.features, kLookupBlockCols); }

  void copy(std::int64_t block, std::int64_t token, std::int64_t tokens, std::uint16_t* to) const {
    const std::int64_t col = block * kLookupBlockCols;
    const std::int64_t cols = std::min(kPitch, x_.features - col);
    if (!order_.empty()) return copy_ordered(col, cols, token, tokens, to);
    if (x_.layout == Layout::feature_major)
      return kernels_.transpose({&x_.at(token, col), cols, tokens, x_.major_stride()}, to, kPitch);
    for (std::int64_t t = 0; t < tokens; ++t)
      std::copy_n(&x_.at(token + t, col), cols, to + t * kPitch);
  }
  void copy_ordered(std::int64_t col, std::int64_t cols, std::int64_t token, std::int64_t tokens,
                    std::uint16_t* to) const {
    const bool by_tokens = x_.layout == Layout::token_major;
    const std::int64_t step = by_tokens ? 1 : x_.major_stride();
    const std::uint32_t* from = order_.data() + col;
    for (std::int64_t t = 0; t < tokens; ++t, to += kPitch) {
      const std::uint16_t* x = &x_.at(token + t, 0);
      for (std::int64_t c = 0; c < cols; ++c) to[c] = x[from[c] * step];
    }
  }

  const Bf16Kernels& kernels_;
  const Bf16Input& x_;
  const std::vector<std::uint32_t>& order_;
  std::int64_t tokens_;
  std::uint16_t* data_;
};

// What a worker needs for a chunk of panels.
struct WorkerScratch {
  Scratch sums, pairs;
  std::vector<std::uint16_t> columns;
  LookupPlan plan;
};

WorkerScratch& worker_scratch() {
  thread_local WorkerScratch scratch;
  return scratch;
}

class Product {
 public:
  Product(const Bf16Kernels& kernels, const PackedWeight::Impl& weight, const Bf16Output& y,
          const Epilogue& epilogue)
      : kernels_(kernels),
        weight_(weight),
        layout_(weight.layout),
        y_(y),
        epilogue_(epilogue),
        begins_(slot_windows(layout_)) {
    if (!plan_needs_columns(layout_)) plan_ = lookup_plan(layout_);
    place_.resize(weight.input_permutation.size());
    for (std::size_t p = 0; p < weight.input_permutation.size(); ++p)
      place_[weight.input_permutation[p]] = static_cast<std::uint16_t>(p);
  }

  // Panels [begin, end) by some tokens, of which `x` is a copy.
  void multiply(std::int64_t begin, std::int64_t end, const XBlocks& x, std::int64_t token,
                std::int64_t tokens) const {
    const std::int64_t panel_sums = tokens * kPanelRows;
    float* sums = worker_scratch().sums.room<float>((end - begin) * panel_sums);
    for (std::int64_t p = begin; p < end;) {
      const std::int64_t stop = list_end(p, end);
      multiply_list(p, stop, x, tokens, sums + (p - begin) * panel_sums);
      p = stop;
    }
    store(begin, end, sums, token, tokens);
  }

 private:
  // The end of the panels that read by the same list.
  std::int64_t list_end(std::int64_t p, std::int64_t end) const {
    const std::int32_t list = weight_.panels[static_cast<std::size_t>(p)].list;
    while (p < end && weight_.panels[static_cast<std::size_t>(p)].list == list) ++p;
    return p;
  }

  void multiply_list(std::int64_t begin, std::int64_t end, const XBlocks& x, std::int64_t tokens,
                     float* sums) const {
    const LookupPlan& plan = plan_of(weight_.panels[static_cast<std::size_t>(begin)].list);
    const std::int64_t panel_sums = tokens * kPanelRows;
    if (plan.blocks.empty()) std::fill_n(sums, (end - begin) * panel_sums, 0.0f);
    for (const LookupBlock& block : plan.blocks) {
      std::int64_t p = begin;
      for (std::int64_t tiles = ceil_div(end - begin, kLookupPanels); tiles > 0; --tiles) {
        const std::int64_t panels = ceil_div(end - p, tiles);
        const std::int64_t next =
            p + panels < end ? panels * weight_.panel_bytes : after(plan, block, p, begin, end);
        multiply_panels(plan, block, p, panels, next, x, tokens, sums + (p - begin) * panel_sums);
        p += panels;
      }
    }
  }

  // Bytes from a block's weights of the last panels to what is joined then: the next block of the
  // first ones, or the panels of another list or chunk.
  std::int64_t after(const LookupPlan& plan, const LookupBlock& block, std::int64_t panel,
                     std::int64_t begin, std::int64_t end) const {
    const bool last = &block == &plan.blocks.back();
    if (last && end == std::ssize(weight_.panels)) return 0;
    return ((last ? end : begin) - panel) * weight_.panel_bytes +
           layout_.slot_offset(last ? 0 : (&block)[1].slot) - layout_.slot_offset(block.slot);
  }

  void multiply_panels(const LookupPlan& plan, const LookupBlock& block, std::int64_t panel,
                       std::int64_t panels, std::int64_t next, const XBlocks& x,
                       std::int64_t tokens, float* sums) const {
    auto* pairs = worker_scratch().pairs.room<WeightPairs>(kLookupPanels * kLookupBlockPairs);
    LookupTile tile;
    tile.panels = static_cast<int>(panels);
    tile.windows = plan.windows.data() + block.window;
    tile.window_count = block.windows;
    tile.x_step = kPitch;
    tile.sums_step = tokens * kPanelRows;
    tile.first = &block == plan.blocks.data();
    for (std::int64_t p = 0; p < panels; ++p) {
      WeightPairs* joined = pairs + p * kLookupBlockPairs;
      tile.pairs[p] = joined;
      kernels_.join({.layout = &layout_,
                     .panel = weight_.panel(panel + p),
                     .windows = tile.windows,
                     .window_count = tile.window_count,
                     .slot = block.slot,
                     .column = block.x_block * kLookupBlockCols,
                     .begins = begins_.data(),
                     .columns = layout_.list_per_vector ? worker_scratch().columns.data() : nullptr,
                     .next = next,
                     .out = joined});
    }
    std::int64_t t = 0;
    for (std::int64_t tiles = ceil_div(tokens, kLookupTokens[panels - 1]); tiles > 0; --tiles) {
      tile.tokens = static_cast<int>(ceil_div(tokens - t, tiles));
      tile.x = x.at(block.x_block, t);
      tile.sums = sums + t * kPanelRows;
      kernels_.multiply_looked_up(tile);
      t += tile.tokens;
    }
  }

  // Of a list; its columns are left in the worker's scratch.
  const LookupPlan& plan_of(std::int32_t list) const {
    if (!layout_.list_per_vector) return plan_;
    WorkerScratch& scratch = worker_scratch();
    const auto length = static_cast<std::size_t>(layout_.x_length);
    const std::uint16_t* columns = weight_.x_order.narrow(list);
    scratch.columns.resize(length + kLookupCols);
    for (std::size_t i = 0; i < length; ++i)
      scratch.columns[i] = place_.empty() ? columns[i] : place_[columns[i]];
    if (!plan_needs_columns(layout_)) return plan_;
    scratch.plan = lookup_plan(layout_, {scratch.columns.data(), length});
    return scratch.plan;
  }

  // Some tokens of all panels at a time: whole cache lines of y where it is token-major.
  void store(std::int64_t begin, std::int64_t end, float* sums, std::int64_t token,
             std::int64_t tokens) const {
    for (std::int64_t t = 0; t < tokens; t += kPackTokens) {
      const std::int64_t count = std::min(kPackTokens, tokens - t);
      for (std::int64_t p = begin; p < end; ++p) {
        const Panel& panel = weight_.panels[static_cast<std::size_t>(p)];
        float* from = sums + ((p - begin) * tokens + t) * kPanelRows;
        std::uint16_t* to = &y_.at(token + t, panel.row);
        finish_sums(panel, from, static_cast<int>(count), epilogue_);
        if (y_.layout == Layout::token_major)
          kernels_.round(from, kPanelRows, count, panel.rows, to, y_.major_stride());
        else
          kernels_.round_transposed(from, kPanelRows, panel.rows, count, to, y_.major_stride());
      }
    }
  }

  const Bf16Kernels& kernels_;
  const PackedWeight::Impl& weight_;
  const PackedLayout& layout_;
  const Bf16Output& y_;
  const Epilogue& epilogue_;
  std::vector<std::int32_t> begins_;
  LookupPlan plan_;                   // unless each list has its own
  std::vector<std::uint16_t> place_;  // of a column in the order of the weight, if it is permuted
};

// Panels of a task: where all read by one list, three tiles' worth is a little faster than 16.
std::int64_t lookup_chunk(const PackedWeight::Impl& weight, int threads) {
  const int chunk = chunk_panels(weight, threads);
  return weight.layout.list_per_vector ? chunk : std::min(chunk, 3 * kLookupPanels);
}

}  // namespace

void lookup_multiply(const Bf16Kernels& kernels, const PackedWeight::Impl& weight,
                     const Bf16Input& x, const Bf16Output& y, const Epilogue& epilogue,
                     int threads) {
  thread_local Scratch x_scratch;
  const Product product(kernels, weight, y, epilogue);
  const std::vector<std::uint32_t> order = column_order(weight);
  const TokenPanels passes(x.tokens, kMaxPassTokens, 1);
  const std::int64_t panels = std::ssize(weight.panels), chunk = lookup_chunk(weight, threads);
  for (std::int64_t pass = 0; pass < passes.count(); ++pass) {
    const std::int64_t token = passes.token(pass), tokens = passes.tokens(pass);
    const XBlocks blocks(kernels, x, token, tokens, order, x_scratch, threads);
    parallel_for(ceil_div(panels, chunk), threads, [&](std::int64_t task) {
      product.multiply(task * chunk, std::min(panels, (task + 1) * chunk), blocks, token, tokens);
    });
  }
}

}  // namespace coppice::cpu
