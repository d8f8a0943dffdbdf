#include "coppice/dtype.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include "coppice/error.h"

namespace coppice {
namespace {

TEST(Dtype, NamesRoundTrip) {
  for (int i = 0; i <= static_cast<int>(Dtype::f8_e5m2fnuz); ++i) {
    auto dtype = static_cast<Dtype>(i);
    EXPECT_EQ(parse_dtype(dtype_name(dtype)), dtype);
  }
  // All that safetensors 0.8 knows.
  for (const char* name :
       {"BOOL",    "F4",          "F6_E2M3",     "F6_E3M2", "U8",  "I8",  "F8_E5M2", "F8_E4M3",
        "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ", "I16",     "U16", "F16", "BF16",    "I32",
        "U32",     "F32",         "C64",         "F64",     "I64", "U64"})
    EXPECT_TRUE(parse_dtype(name)) << name;
  EXPECT_FALSE(parse_dtype("f32"));
  EXPECT_EQ(dtype_bytes(Dtype::bf16), 2);
  EXPECT_THROW(dtype_bytes(Dtype::f4), InvalidArgument);
}

// Every bit pattern of a small type survives the way through float, and rounding picks the nearest
// neighbour.
void check_all_bits(Dtype dtype, std::uint32_t count) {
  for (std::uint32_t bits = 0; bits < count; ++bits) {
    float value = to_float(dtype, bits);
    if (std::isnan(value)) {
      EXPECT_TRUE(std::isnan(to_float(dtype, from_float(dtype, value))));
    } else {
      EXPECT_EQ(from_float(dtype, value), bits) << dtype_name(dtype) << " " << value;
    }
  }
}

TEST(Dtype, ExactThroughFloat) {
  check_all_bits(Dtype::f16, 1 << 16);
  check_all_bits(Dtype::bf16, 1 << 16);
  check_all_bits(Dtype::f8_e4m3, 1 << 8);
  check_all_bits(Dtype::i8, 1 << 8);
}

TEST(Dtype, RoundsToNearestEven) {
  for (Dtype dtype : {Dtype::f16, Dtype::bf16, Dtype::f8_e4m3}) {
    std::uint32_t last = dtype == Dtype::f16 ? 0x7bff : dtype == Dtype::bf16 ? 0x7f7f : 0x7e;
    for (std::uint32_t bits = 0; bits < last; ++bits) {
      float low = to_float(dtype, bits), high = to_float(dtype, bits + 1);
      auto middle = static_cast<float>((static_cast<double>(low) + high) / 2);
      EXPECT_EQ(from_float(dtype, middle), bits % 2 == 0 ? bits : bits + 1)
          << dtype_name(dtype) << " " << bits;
      EXPECT_EQ(from_float(dtype, std::nextafter(middle, low)), bits);
      EXPECT_EQ(from_float(dtype, std::nextafter(middle, high)), bits + 1);
    }
  }
}

TEST(Dtype, Extremes) {
  constexpr float inf = std::numeric_limits<float>::infinity();
  EXPECT_EQ(from_float(Dtype::f16, 1e30f), 0x7c00u);
  EXPECT_EQ(from_float(Dtype::f16, -inf), 0xfc00u);
  EXPECT_EQ(from_float(Dtype::f16, 65519.0f), 0x7bffu);
  EXPECT_EQ(from_float(Dtype::f16, 65520.0f), 0x7c00u);
  EXPECT_EQ(from_float(Dtype::bf16, inf), 0x7f80u);
  EXPECT_EQ(from_float(Dtype::f8_e4m3, 1e9f), 0x7eu);
  EXPECT_EQ(from_float(Dtype::i8, 1e9f), 0x7fu);
  EXPECT_EQ(from_float(Dtype::f16, -0.0f), 0x8000u);
  EXPECT_TRUE(std::isnan(to_float(Dtype::f8_e4m3, 0x7f)));
}

TEST(Dtype, SpansMatchScalars) {
  std::vector<float> values = {0.0f, -0.0f, 1.5f, -3.25f, 1e-6f, 300.0f, -1e-40f};
  for (Dtype dtype : {Dtype::f32, Dtype::f16, Dtype::bf16, Dtype::f8_e4m3, Dtype::i8}) {
    auto size = static_cast<std::size_t>(dtype_bytes(dtype));
    std::vector<std::byte> bytes(values.size() * size + 1);
    from_float(dtype, values, bytes.data() + 1);  // unaligned on purpose
    std::vector<float> back(values.size());
    to_float(dtype, bytes.data() + 1, back);
    for (std::size_t i = 0; i < values.size(); ++i)
      EXPECT_EQ(back[i], to_float(dtype, from_float(dtype, values[i])));
  }
  EXPECT_THROW(to_float(Dtype::i64, 0), InvalidArgument);
}

}  // namespace
}  // namespace coppice
