// What a kernel that expands an element-wise weight to 2:4 in registers multiplies by, followed on
// the host from the packed order, unit by unit: it is the weight.
#include "cuda/element/quad_form.h"

#include <gtest/gtest.h>

#include <cstring>
#include <set>
#include <string>
#include <vector>

#include "cuda/describe.h"
#include "cuda/host_element_pack.h"
#include "cuda/model/gpu.h"

namespace coppice::cuda {
namespace {

using cpu::Random;
using cpu::random_int;

TEST(QuadForm, PatternsThatHaveOne) {
  const auto form = [](const char* pattern, Dtype dtype) {
    WeightShape shape;
    shape.rows = 32, shape.cols = 320;
    return quad_form(plan_element(Grid(Pattern::parse(pattern), shape), dtype, false).layout);
  };
  EXPECT_EQ(form("2:8", Dtype::f16), 0);
  EXPECT_EQ(form("vw4/2:8", Dtype::bf16), 0);
  EXPECT_EQ(form("1:4", Dtype::f16), 1);
  EXPECT_EQ(form("2:16", Dtype::bf16), 2);
  EXPECT_EQ(form("2:8", Dtype::f32), -1);
  for (const char* pattern : {"4:8", "1:8", "2:12", "3:16", "vw32/2:8", "bw2x2/2:8"})
    EXPECT_EQ(form(pattern, Dtype::f16), -1) << pattern;
}

// Every place of a step's columns is in one slot of its blocks.
TEST(QuadForm, SlotsHoldTheColumnsOfTheirStep) {
  for (const QuadForm& form : kQuadForms) {
    const int blocks = form.step_columns() / kBlockSlots;
    for (const int step : {0, 3}) {
      std::set<int> places;
      for (int b = 0; b < blocks; ++b)
        for (int four = 0; four < kBlockSlots / 4; ++four)
          for (int i = 0; i < 4; ++i)
            places.insert(slot_place(form.group, step * blocks + b, four) + i);
      EXPECT_EQ(places.size(), static_cast<std::size_t>(form.step_columns()));
      EXPECT_EQ(*places.begin(), step * form.step_columns());
      EXPECT_EQ(*places.rbegin(), (step + 1) * form.step_columns() - 1);
    }
  }
}

TEST(QuadForm, TokensHaveTheirBytes) {
  std::set<int> bytes;
  for (int token = 0; token < 32; ++token)
    for (int four = 0; four < kBlockSlots / 4; ++four) {
      EXPECT_EQ(slot_byte(token, four) / 128, token);
      bytes.insert(slot_byte(token, four));
    }
  EXPECT_EQ(bytes.size(), 32u * kBlockSlots / 4);
}

/// Follows the units of a row of a packed weight.
class RowReader {
 public:
  RowReader(const PackedElement& packed, const QuadForm& form, int row)
      : packed_(packed), l_(packed.plan.layout), form_(form), row_(row) {}

  /// Adds the kept values to `dense`, which has all places.
  void add_to(std::vector<std::uint32_t>& dense) const {
    for (int t = 0; t < kElementLanes; ++t)
      for (int unit = 0; unit < l_.pieces * 4; ++unit) add_unit(t, unit, dense);
  }

 private:
  std::uint32_t code(int t, int unit) const {
    const int vector = row_ / l_.vec_rows, first = unit * form_.code_bits();
    std::uint32_t code = 0;
    for (int bit = first; bit < first + form_.code_bits(); ++bit) {
      if (bit / 32 >= l_.words) break;
      const std::uint32_t word =
          packed_.words[static_cast<std::size_t>(choice_word(l_, vector, t, bit / 32))];
      code |= (word >> bit % 32 & 1) << (bit - first);
    }
    return code;
  }
  std::uint32_t value(int t, int entry) const {
    std::uint16_t bits = 0;
    std::memcpy(&bits, packed_.values.data() + value_byte(l_, row_, {t, entry}), 2);
    return bits;
  }
  void add_unit(int t, int unit, std::vector<std::uint32_t>& dense) const {
    const std::uint32_t values[3] = {value(t, 2 * unit), value(t, 2 * unit + 1), 0};
    const std::uint32_t entry = unit_entry(form_, code(t, unit));
    for (int q = 0; q < form_.unit_quads(); ++q) {
      const std::uint32_t metadata = entry >> (16 + 4 * q) & 15;
      const int places[2] = {static_cast<int>(metadata & 3), static_cast<int>(metadata >> 2)};
      ASSERT_LT(places[0], places[1]) << "not 2:4";
      // Quad q of the unit is so many of the lane's; four slots of a block follow t, then the quad.
      const int quad = unit * form_.unit_quads() + q;
      const int column = slot_place(form_.group, quad / 4, quad % 4 * kElementLanes + t);
      for (int h = 0; h < 2; ++h) {
        const std::uint32_t which = entry >> (8 * (q % 2) + 4 * h + 2 * (q / 2)) & 3;
        const auto at = static_cast<std::size_t>(column + places[h]);
        if (values[which] == 0) continue;
        ASSERT_LT(at, dense.size());
        EXPECT_EQ(dense[at], 0u);
        dense[at] = values[which];
      }
    }
  }

  const PackedElement& packed_;
  const ElementLayout& l_;
  QuadForm form_;
  int row_;
};

TEST(QuadForm, UnitsAreTheWeight) {
  Random random(41);
  for (const char* name : {"2:8", "1:4", "2:16", "vw4/2:8"})
    for (int i = 0; i < 12; ++i) {
      const int rows = random_int(random, 1, 40), cols = random_int(random, 1, 1500);
      const SparseMatrix weight =
          cpu::random_weight(random, Pattern::parse(name), rows, cols, Dtype::f16);
      std::vector<std::uint16_t> want(static_cast<std::size_t>(rows * cols));
      decompress(weight.view(),
                 {reinterpret_cast<std::byte*>(want.data()), Dtype::f16, rows, cols, 0});
      const PackedElement packed = pack_element(weight);
      const int number = quad_form(packed.plan.layout);
      ASSERT_GE(number, 0);
      const QuadForm& form = kQuadForms[static_cast<std::size_t>(number)];
      EXPECT_GE(quad_blocks(form, packed.plan.layout) * kBlockSlots, cols);
      for (int row = 0; row < rows; ++row) {
        std::vector<std::uint32_t> got(
            static_cast<std::size_t>(quad_blocks(form, packed.plan.layout) * kBlockSlots));
        RowReader(packed, form, row).add_to(got);
        for (int c = 0; c < cols; ++c) {
          const std::uint32_t w = want[static_cast<std::size_t>(row * cols + c)];
          EXPECT_EQ(got[static_cast<std::size_t>(c)], w == 0x8000 ? 0u : w) << name << " " << c;
        }
        for (std::size_t c = static_cast<std::size_t>(cols); c < got.size(); ++c)
          EXPECT_EQ(got[c], 0u) << "behind the last column";
        if (HasFailure()) return;
      }
    }
}

// The same for codes that no weight has: what padding may hold must still be legal metadata.
TEST(QuadForm, EveryCodeIsLegal) {
  for (const QuadForm& form : kQuadForms)
    for (std::uint32_t code = 0; code < 1u << form.code_bits(); ++code)
      for (int q = 0; q < form.unit_quads(); ++q) {
        const std::uint32_t metadata = unit_entry(form, code) >> (16 + 4 * q) & 15;
        EXPECT_LT(metadata & 3, metadata >> 2) << "code " << code;
      }
}

}  // namespace
}  // namespace coppice::cuda
