// Kernels of short vectors on the host: what their warps would bring to shared memory is the
// weight. Slots are found as the kernels find them, by the arithmetic of blocked_window.h.
#include <gtest/gtest.h>

#include <cstring>

#include "cpu/random_weight.h"
#include "cuda/blocked/blocked_select.h"
#include "cuda/describe.h"
#include "cuda/host_element_pack.h"

namespace coppice::cuda {
namespace {

using cpu::Random;
using cpu::random_int;

constexpr DeviceInfo kH200{132, 90, 60 << 20, 227 * 1024, true};

// Slots of a warp in a step: values [slot][row], columns of the window [slot][row].
struct Slots {
  std::vector<float> values;
  std::vector<int> columns;
};

class Warp {
 public:
  Warp(const PackedElement& packed, const BlockedShape& shape, const BlockedWindow& window,
       int first_row)
      : packed_(packed),
        plan_(packed.plan),
        l_(packed.plan.layout),
        shape_(shape),
        w_(window),
        first_row_(first_row) {}

  Slots read(const BlockedStep& s) const {
    Slots out;
    out.values.assign(static_cast<std::size_t>(w_.padded_slots() * kWarpRows), 0);
    out.columns.assign(out.values.size(), -1);
    EXPECT_LE(s.chunks(), w_.chunks);
    for (int n = 0; n < s.chunks() * w_.streams(); ++n)
      for (int row = 0; row < kWarpRows; ++row) turn(s, n, row, out);
    for (int row = 0; row < kWarpRows; ++row)
      l_.in_groups() ? note_groups(s, row, out) : note_runs(s, row, out);
    return out;
  }

 private:
  static std::size_t at(int slot, int row) {
    return static_cast<std::size_t>(slot * kWarpRows + row);
  }
  int vector(int row) const {
    int of = first_row_ + row;
    if (shape_.row_lists == 1) of = first_row_ + row / 4 * 4;
    of = std::min(of, l_.rows - 1);
    return plan_.row_vectors.empty() ? of / l_.vec_rows
                                     : plan_.row_vectors[static_cast<std::size_t>(of)];
  }
  void turn(const BlockedStep& s, int n, int row, Slots& out) const {
    const int half_unit = (first_row_ + row) / 8;
    if (half_unit >= 2 * l_.units()) return;
    const auto byte = static_cast<std::size_t>(
        piece_byte(l_, half_unit, 0, (first_row_ + row) % 8 * kElementLanes) +
        chunk_byte(l_, w_, s, n));
    ASSERT_LE(byte + kPieceBytes, packed_.values.size());
    float four[4];
    std::memcpy(four, packed_.values.data() + byte, sizeof(four));
    const int chunk = n / w_.streams(), stream = n % w_.streams();
    const int first = (s.chunk() + chunk) * kChunkValues - s.start;
    for (int i = 0; i < kChunkValues; ++i)
      if (first + i >= 0 && first + i < s.slots)
        out.values[at(stream * s.slots + first + i, row)] = four[i];
  }
  void note_groups(const BlockedStep& s, int row, Slots& out) const {
    const int first_bit = s.level * l_.choice_bits;
    for (int stream = 0; stream < w_.streams(); ++stream) {
      const auto bit = [&](int number) {
        const auto word = static_cast<std::size_t>(
            choice_word(l_, vector(row), s.stream + stream, (first_bit + number) / 32));
        return static_cast<int>(packed_.words.at(word) >> (first_bit + number) % 32 & 1u);
      };
      const int first = (s.part * w_.streams() + stream) * l_.group;
      int slot = stream * s.slots;
      const auto note = [&](int block) {
        for (int c = 0; c < l_.block_cols; ++c)
          out.columns[at(slot++, row)] = (first + block) * l_.block_cols + c;
      };
      for (int b = l_.group - 1; b >= 0 && l_.form == ChoiceForm::mask; --b)
        if (bit(b) != 0) note(b);
      for (int i = 0; i < l_.kept && l_.form == ChoiceForm::indices; ++i) {
        int block = 0;
        for (int b = 0; b < l_.index_bits; ++b) block |= bit(i * l_.index_bits + b) << b;
        note(block);
      }
    }
  }
  void note_runs(const BlockedStep& s, int row, Slots& out) const {
    for (int slot = 0; slot < s.slots; ++slot) {
      const auto run =
          static_cast<std::size_t>(run_number(l_, vector(row), (s.start + slot) / l_.run));
      out.columns[at(slot, row)] = packed_.runs.at(run) - s.column + slot % l_.run;
    }
  }

  const PackedElement& packed_;
  const ElementPlan& plan_;
  const ElementLayout& l_;
  const BlockedShape& shape_;
  const BlockedWindow& w_;
  int first_row_;
};

std::vector<float> read_back(const PackedElement& packed, const BlockedShape& shape,
                             const BlockedWindow& w) {
  const ElementLayout& l = packed.plan.layout;
  std::vector<float> dense(static_cast<std::size_t>(l.rows) * static_cast<std::size_t>(l.cols));
  for (int first = 0; first < l.rows; first += kWarpRows) {
    const Warp warp(packed, shape, w, first);
    for (BlockedStep s = blocked_step(l, w, 0, 0); s.window < w.windows; s = next_step(l, w, s)) {
      const Slots slots = warp.read(s);
      for (int slot = 0; slot < w.streams() * s.slots; ++slot)
        for (int row = 0; row < std::min(kWarpRows, l.rows - first); ++row) {
          const auto at = static_cast<std::size_t>(slot * kWarpRows + row);
          EXPECT_GE(slots.columns[at], 0);
          EXPECT_LT(slots.columns[at], w.columns);
          const int place = s.column + slots.columns[at];
          const int column = packed.plan.sources > 0
                                 ? place < packed.plan.sources
                                       ? packed.sources[static_cast<std::size_t>(place)]
                                       : -1
                             : place < l.cols ? place
                                              : -1;
          if (column < 0)
            EXPECT_EQ(slots.values[at], 0) << "a value at no column";
          else
            dense[static_cast<std::size_t>(first + row) * static_cast<std::size_t>(l.cols) +
                  static_cast<std::size_t>(column)] += slots.values[at];
        }
    }
  }
  return dense;
}

// How many kernels of short vectors the weight has.
int expect_round_trip(const SparseMatrix& weight) {
  const std::int64_t rows = weight.rows(), cols = weight.cols();
  std::vector<std::byte> dense(static_cast<std::size_t>(rows * cols * 4));
  decompress(weight.view(), {dense.data(), weight.dtype, rows, cols, 0});
  std::vector<float> want(static_cast<std::size_t>(rows * cols));
  to_float(weight.dtype, dense.data(), want);
  const PackedElement packed = pack_element(weight);
  ProductInfo p = describe(packed.plan, *weight.grid, kH200);
  p.tokens = 300;
  int kernels = 0;
  for (const Selection& selection : blocked_selections(p, kH200)) {
    const BlockedShape& shape = kBlockedShapes[static_cast<std::size_t>(selection.shape)];
    if (!shape.windowed()) continue;
    const BlockedWindow w = blocked_window(shape, p, kH200);
    EXPECT_LE(w.shared_bytes(shape), kH200.shared_bytes);
    EXPECT_EQ(read_back(packed, shape, w), want)
        << weight.pattern().to_string() << " " << rows << " x " << cols;
    ++kernels;
  }
  return kernels;
}

TEST(BlockedWindow, EveryGroupUpTo32ReadsBack) {
  Random random(1);
  for (int group = 2; group <= 32; ++group)
    for (int kept = 1; kept < group; ++kept)
      for (const int vec_rows : {1, 4}) {
        const Pattern pattern = Pattern::make(vec_rows, 1, kept, group);
        if (!is_element_pattern(pattern)) continue;
        const int cols = random_int(random, 1, 10 * group), rows = random_int(random, 1, 40);
        EXPECT_EQ(expect_round_trip(cpu::random_weight(random, pattern, rows, cols, Dtype::f32)), 2)
            << pattern.to_string();
        if (HasFailure()) return;
      }
}

TEST(BlockedWindow, RandomPatternsReadBack) {
  Random random(2);
  int seen = 0;
  for (int i = 0; i < 600; ++i) {
    const Pattern pattern = cpu::random_pattern(random);
    const int rows = random_int(random, 1, 150), cols = random_int(random, 1, 700);
    const cpu::RandomWeightOptions options = random_options(random, rows, cols);
    if (!is_element_pattern(pattern)) continue;
    seen += expect_round_trip(cpu::random_weight(random, pattern, rows, cols, Dtype::f32, options));
    if (HasFailure()) break;
  }
  EXPECT_GT(seen, 150);
}

TEST(BlockedWindow, CommonPatternsHaveKernels) {
  Random random(3);
  for (const char* pattern :
       {"vw4/16:32", "vw4/8:32", "vw4/3:32", "bw4x4/16:32", "bw4x4/8:32", "bw4x4/3:32", "16:32",
        "8:32", "3:32", "vw2/8:32", "vw12/8:32", "2:8", "1:4", "bw2x2/2:4"}) {
    const SparseMatrix weight =
        cpu::random_weight(random, Pattern::parse(pattern), 40, 600, Dtype::f32);
    EXPECT_GT(expect_round_trip(weight), 0) << pattern;
  }
}

}  // namespace
}  // namespace coppice::cuda
