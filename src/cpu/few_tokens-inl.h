// Kernels for few tokens, one panel a call. For every target.
//
// At 1 to 8 tokens the time is the time to read the weight, so the kernels read nothing twice: one
// stream of panels, front to back, with a prefetch that hides the end of one hardware stream.
// A slot costs a load and a widening of 16 values, and for each token a look-up in a window
// register (lane) or a broadcast (shared) and a multiply-add: on Zen 5 about 2 cycles at one token,
// where memory gives a core a slot of 16-bit values every 5.
#if defined(COPPICE_CPU_FEW_TOKENS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef COPPICE_CPU_FEW_TOKENS_INL_H_
#undef COPPICE_CPU_FEW_TOKENS_INL_H_
#else
#define COPPICE_CPU_FEW_TOKENS_INL_H_
#endif

#include <bit>
#include <utility>

#include "cpu/few_tokens.h"
#include "cpu/lookup-inl.h"
#include "cpu/values-inl.h"
#include "hwy/cache_control.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace coppice::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

inline constexpr std::size_t kLanes = hn::MaxLanes(LaneTag());
inline constexpr std::size_t kParts = kPanelRows / kLanes;  // registers that hold a panel's lanes
inline constexpr int kPrefetchBytes = 4096;                 // ahead of the slot in use

// One slot's values. The constructor is spelled out because an implied one would not be compiled
// for the target.
struct Slot {
  Lanes part[kParts];
  HWY_INLINE Slot() {}
};

template <class Value>
HWY_INLINE Slot load_slot(const std::byte* from) {
  const auto* bits = reinterpret_cast<const typename Value::Bits*>(from);
  Slot slot;
  for (std::size_t i = 0; i < kParts; ++i) slot.part[i] = Value::load(LaneTag(), bits + i * kLanes);
  return slot;
}

// Running sums of a tile. Few sums come in two sets, used in turn, so that a multiply-add need not
// wait for the one before.
template <int kTile>
struct Sums {
  static constexpr int kSets = kTile * kParts <= 4 ? 2 : 1;
  Lanes sum[kSets][kTile][kParts];

  HWY_INLINE Sums() {
    for (auto& set : sum)
      for (auto& token : set)
        for (auto& part : token) part = hn::Zero(LaneTag());
  }

  HWY_INLINE void store(float* out) const {
    for (int t = 0; t < kTile; ++t) {
      for (std::size_t i = 0; i < kParts; ++i) {
        Lanes total = sum[0][t][i];
        if constexpr (kSets == 2) total = hn::Add(total, sum[1][t][i]);
        hn::StoreU(total, LaneTag(), out + t * kPanelRows + i * kLanes);
      }
    }
  }
};

// Walks over the chunks of a lane panel.
template <class Value, int kWindow>
class ChunkReader {
 public:
  static constexpr int kIndexBits = std::bit_width(static_cast<unsigned>(kWindow)) - 1;
  static constexpr int kSlotsPerWord = 32 / kIndexBits;
  static constexpr int kSlotBytes = kPanelRows * static_cast<int>(sizeof(typename Value::Bits));

  explicit HWY_INLINE ChunkReader(const std::byte* panel) : next_(panel) {}

  // To the next slot: its values, and its indices in the low bits of `index`.
  HWY_INLINE Slot next() {
    if (left_ == 0) {
      for (std::size_t i = 0; i < kParts; ++i)
        index[i] =
            hn::LoadU(IndexTag(), reinterpret_cast<const std::uint32_t*>(next_) + i * kLanes);
      hwy::Prefetch(next_ + kPrefetchBytes);
      next_ += kPanelRows * 4;
      left_ = kSlotsPerWord;
    } else {
      for (std::size_t i = 0; i < kParts; ++i) index[i] = hn::ShiftRight<kIndexBits>(index[i]);
    }
    --left_;
    const Slot slot = load_slot<Value>(next_);
    hwy::Prefetch(next_ + kPrefetchBytes);
    next_ += kSlotBytes;
    return slot;
  }

  Indices index[kParts];

 private:
  const std::byte* next_;
  int left_ = 0;
};

template <class Value, int kWindow, int kTile>
struct LanePanel {
  using Reader = ChunkReader<Value, kWindow>;

  // One slot into one set of sums. A function, not a lambda: those are not always inlined into code
  // for a target.
  static HWY_INLINE void add(Reader& reader, const Window<kWindow>* windows,
                             Lanes (&sums)[kTile][kParts]) {
    const Slot slot = reader.next();
    for (int t = 0; t < kTile; ++t)
      for (std::size_t i = 0; i < kParts; ++i)
        sums[t][i] = hn::MulAdd(slot.part[i], windows[t].lookup(reader.index[i]), sums[t][i]);
  }

  // The slots of one group. `kToken` counts the tokens of the tile.
  template <std::size_t... kToken>
  static HWY_INLINE void add_group(Reader& reader, int slots, const float* x, std::int64_t x_stride,
                                   Sums<kTile>& sums, std::index_sequence<kToken...>) {
    const Window<kWindow> windows[] = {
        Window<kWindow>(x + static_cast<std::int64_t>(kToken) * x_stride)...};
    int k = 0;
    for (; k + 1 < slots; k += 2) {
      add(reader, windows, sums.sum[0]);
      add(reader, windows, sums.sum[Sums<kTile>::kSets - 1]);
    }
    if (k < slots) add(reader, windows, sums.sum[0]);
  }

  static void run(const PackedLayout& layout, const std::byte* panel, const void* /*list*/,
                  const float* x, std::int64_t x_stride, float* out) {
    Sums<kTile> sums;
    Reader reader(panel);
    for (const SlotRun& run : layout.runs) {
      const float* at = x + run.x_begin;
      for (std::int64_t g = 0; g < run.groups; ++g, at += run.x_step)
        add_group(reader, run.slots, at, x_stride, sums, std::make_index_sequence<kTile>());
    }
    sums.store(out);
  }
};

template <class Value, class Column, int kTile>
struct SharedPanel {
  static constexpr int kSlotBytes = kPanelRows * static_cast<int>(sizeof(typename Value::Bits));

  // One slot into one set of sums.
  static HWY_INLINE void add(const std::byte* at, const float* x, Lanes (&sums)[kTile][kParts]) {
    const Slot slot = load_slot<Value>(at);
    hwy::Prefetch(at + kPrefetchBytes);
    for (int t = 0; t < kTile; ++t) {
      const Lanes x_lanes = hn::Set(LaneTag(), x[t]);
      for (std::size_t i = 0; i < kParts; ++i)
        sums[t][i] = hn::MulAdd(slot.part[i], x_lanes, sums[t][i]);
    }
  }

  static void run(const PackedLayout& layout, const std::byte* panel, const void* list,
                  const float* x, std::int64_t /*x_stride*/, float* out) {
    const auto* columns = static_cast<const Column*>(list);
    const auto* const end = columns + layout.slots;
    Sums<kTile> sums;
    for (; columns + 1 < end; columns += 2, panel += 2 * kSlotBytes) {
      add(panel, x + std::size_t{columns[0]} * kTile, sums.sum[0]);
      add(panel + kSlotBytes, x + std::size_t{columns[1]} * kTile,
          sums.sum[Sums<kTile>::kSets - 1]);
    }
    if (columns < end) add(panel, x + std::size_t{columns[0]} * kTile, sums.sum[0]);
    sums.store(out);
  }
};

template <class Value, int kTile>
PanelKernel lane_kernel(int window) {
  switch (window) {
    case 4:
      return LanePanel<Value, 4, kTile>::run;
    case 8:
      return LanePanel<Value, 8, kTile>::run;
    case 16:
      return LanePanel<Value, 16, kTile>::run;
    case 32:
      return LanePanel<Value, 32, kTile>::run;
    case 64:
      return LanePanel<Value, 64, kTile>::run;
    case 128:
      return LanePanel<Value, 128, kTile>::run;
    case 256:
      return LanePanel<Value, 256, kTile>::run;
    default:
      return nullptr;
  }
}

template <class Value, int kTile>
PanelKernel tile_kernel(const PanelKernelKey& key) {
  if (key.format == WeightFormat::lane) return lane_kernel<Value, kTile>(key.window);
  return key.narrow_list ? SharedPanel<Value, std::uint16_t, kTile>::run
                         : SharedPanel<Value, std::uint32_t, kTile>::run;
}

template <class Value>
PanelKernel panel_kernel(const PanelKernelKey& key) {
  switch (key.tile) {
    case 1:
      return tile_kernel<Value, 1>(key);
    case 2:
      return tile_kernel<Value, 2>(key);
    case 4:
      return tile_kernel<Value, 4>(key);
    case 8:
      return tile_kernel<Value, 8>(key);
    default:
      return nullptr;
  }
}

}  // namespace coppice::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // COPPICE_CPU_FEW_TOKENS_INL_H_
