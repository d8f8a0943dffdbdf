// The product for few tokens: prepares x, splits the panels over the threads, calls the kernels.
#include "cpu/few_tokens.h"

#include <algorithm>

#include "core/parallel_for.h"
#include "cpu/order_x.h"
#include "cpu/select.h"
#include "cpu/target.h"

namespace coppice::cpu {
namespace {

// Tokens whose x is prepared at once; more are done in several passes.
constexpr std::int64_t kPassTokens = 32;
// Below these a second thread costs more than it brings.
constexpr std::int64_t kBytesPerThread = 128 << 10, kFloatsPerThread = 32 << 10;

PanelKernel panel_kernel(Dtype dtype, const PanelKernelKey& key) {
  switch (dtype) {
    case Dtype::f32:
      return f32_panel_kernel(key);
    case Dtype::f16:
      return f16_panel_kernel(key);
    default:
      return bf16_panel_kernel(key);
  }
}

// One pass: up to kPassTokens tokens, cut into tiles of equal size; the last one may be smaller.
class Pass {
 public:
  Pass(const PackedWeight::Impl& weight, const Activations& x, std::int64_t first,
       std::int64_t tokens, int threads)
      : weight_(weight), layout_(weight.layout), x_(x, first, tokens), first_(first) {
    tile_ = few_tokens_tile(tokens);
    tiles_ = (tokens + tile_ - 1) / tile_;
    last_tile_ = few_tokens_tile(tokens - (tiles_ - 1) * tile_);
    kernel_ = kernel_of(tile_);
    last_kernel_ = kernel_of(last_tile_);
    const std::int64_t work = std::ssize(weight.panels) * weight.panel_bytes * tiles_;
    threads_ =
        static_cast<int>(std::clamp<std::int64_t>(work / kBytesPerThread, 1, std::max(threads, 1)));
    if (layout_.format == WeightFormat::shared)
      interleave_x();
    else
      order_x();
  }

  void multiply(const MutableActivations& y, const Epilogue& epilogue) {
    parallel_ranges(std::ssize(weight_.panels), threads_, [&](auto begin, auto end, int thread) {
      float* own_x = scratch_.get() + (layout_.list_per_vector ? thread * x_floats_ : 0);
      for (std::int64_t p = begin; p < end; ++p) {
        const Panel& panel = weight_.panels[static_cast<std::size_t>(p)];
        const bool new_list =
            p == begin || panel.list != weight_.panels[static_cast<std::size_t>(p - 1)].list;
        if (layout_.format == WeightFormat::lane && layout_.list_per_vector && new_list)
          order_some(0, x_.tokens, panel.list, weight_.panel(p), own_x);
        multiply_panel(p, layout_.format == WeightFormat::lane ? own_x : interleaved_, y, epilogue);
      }
    });
  }

 private:
  PanelKernel kernel_of(int tile) const {
    return panel_kernel(weight_.dtype,
                        {layout_.format, layout_.window, tile, weight_.x_order.is_narrow()});
  }

  void multiply_panel(std::int64_t p, const float* x, const MutableActivations& y,
                      const Epilogue& epilogue) const {
    const Panel& panel = weight_.panels[static_cast<std::size_t>(p)];
    const void* list = nullptr;
    if (layout_.format == WeightFormat::shared)
      list = weight_.x_order.is_narrow()
                 ? static_cast<const void*>(weight_.x_order.narrow(panel.list))
                 : weight_.x_order.wide(panel.list);
    alignas(64) float sums[kMaxTokenTile * kPanelRows];
    for (std::int64_t tile = 0; tile < tiles_; ++tile) {
      const PanelKernel kernel = tile + 1 < tiles_ ? kernel_ : last_kernel_;
      kernel(layout_, weight_.panel(p), list, x + tile * tile_floats_, x_stride_, sums);
      const std::int64_t token = tile * tile_;
      const auto count = static_cast<int>(std::min<std::int64_t>(tile_, x_.tokens - token));
      finish_panel(panel, sums, first_ + token, count, y, epilogue);
    }
  }

  // Shared: [tiles][cols][tile], the last one as wide as its own tile.
  void interleave_x() {
    tile_floats_ = weight_.cols * tile_;
    if (x_.interleaved(tile_)) {
      interleaved_ = x_.data;
      return;
    }
    scratch_ = aligned_array<float>(static_cast<std::size_t>(tiles_ * tile_floats_));
    interleaved_ = scratch_.get();
    for (std::int64_t tile = 0; tile < tiles_; ++tile) {
      const std::int64_t first = tile * tile_;
      const TokenSpan part = x_.slice(first, std::min<std::int64_t>(tile_, x_.tokens - first));
      parallel_ranges(weight_.cols, copy_threads(tile_floats_), [&](auto begin, auto end, int) {
        interleave_tokens(part, begin, end, tile + 1 < tiles_ ? tile_ : last_tile_,
                          scratch_.get() + tile * tile_floats_);
      });
    }
  }

  // Lane: [tiles][tile][x_length + window], once, or room for one such array per thread.
  void order_x() {
    x_stride_ = (layout_.x_length + layout_.window + 15) / 16 * 16;
    tile_floats_ = x_stride_ * tile_;
    x_floats_ = tiles_ * tile_floats_;
    const int copies = layout_.list_per_vector ? threads_ : 1;
    scratch_ = aligned_array<float>(static_cast<std::size_t>(copies * x_floats_));
    for (int copy = 0; copy < copies; ++copy) {
      float* missing = scratch_.get() + copy * x_floats_ + x_.tokens * x_stride_;
      std::fill(missing, scratch_.get() + (copy + 1) * x_floats_, 0.0f);
    }
    if (layout_.list_per_vector) return;
    parallel_ranges(x_.tokens, copy_threads(x_floats_), [&](auto begin, auto end, int) {
      order_some(begin, end - begin, 0, weight_.panel(0), scratch_.get());
    });
  }

  // Tokens [first, first + count) in the order of one list.
  void order_some(std::int64_t first, std::int64_t count, std::int64_t list, const std::byte* next,
                  float* out) const {
    order_tokens(x_.slice(first, count), weight_.cols, weight_.x_order, list, layout_.x_length,
                 layout_.window, next, x_stride_, out + first * x_stride_);
  }

  int copy_threads(std::int64_t floats) const {
    return static_cast<int>(std::clamp<std::int64_t>(floats / kFloatsPerThread, 1, threads_));
  }

  const PackedWeight::Impl& weight_;
  const PackedLayout& layout_;
  TokenSpan x_;
  std::int64_t first_;
  int tile_ = 1, last_tile_ = 1, threads_ = 1;
  std::int64_t tiles_ = 0;
  std::int64_t tile_floats_ = 0;  // from one tile's x to the next
  std::int64_t x_stride_ = 0;     // from one token's ordered x to the next
  std::int64_t x_floats_ = 0;     // ordered x of all tiles
  PanelKernel kernel_ = nullptr, last_kernel_ = nullptr;
  AlignedArray<float> scratch_;
  const float* interleaved_ = nullptr;
};

}  // namespace

void few_tokens_multiply(const PackedWeight::Impl& weight, const Activations& x,
                         const MutableActivations& y, const Epilogue& epilogue, int threads) {
  choose_target();
  for (std::int64_t first = 0; first < x.tokens; first += kPassTokens) {
    const std::int64_t tokens = std::min(kPassTokens, x.tokens - first);
    Pass(weight, x, first, tokens, threads).multiply(y, epilogue);
  }
}

}  // namespace coppice::cpu
