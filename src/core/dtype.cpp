#include "coppice/dtype.h"

#include <fmt/format.h>

#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "coppice/error.h"

namespace coppice {
namespace {

struct DtypeRow {
  std::string_view name;
  int bits;
  bool weight, floating;
};

// In the order of the enumeration.
constexpr std::array<DtypeRow, 22> kTable = {{
    {"BOOL", 8, false, false},       {"U8", 8, false, false},     {"I8", 8, true, false},
    {"F8_E5M2", 8, false, true},     {"F8_E4M3", 8, true, true},  {"F8_E8M0", 8, false, true},
    {"F4", 4, false, true},          {"F6_E2M3", 6, false, true}, {"F6_E3M2", 6, false, true},
    {"I16", 16, false, false},       {"U16", 16, false, false},   {"F16", 16, true, true},
    {"BF16", 16, true, true},        {"I32", 32, false, false},   {"U32", 32, false, false},
    {"F32", 32, true, true},         {"F64", 64, false, true},    {"I64", 64, false, false},
    {"U64", 64, false, false},       {"C64", 64, false, true},    {"F8_E4M3FNUZ", 8, false, true},
    {"F8_E5M2FNUZ", 8, false, true},
}};
static_assert(static_cast<std::size_t>(Dtype::f8_e5m2fnuz) + 1 == kTable.size());

const DtypeRow& row(Dtype dtype) { return kTable[static_cast<std::size_t>(dtype)]; }

// A binary format with an implicit leading one and gradual underflow.
struct FloatFormat {
  int mantissa, bias;
};

float decode(FloatFormat format, std::uint32_t exponent, std::uint32_t mantissa) {
  float fraction = static_cast<float>(mantissa);
  if (exponent == 0) return std::ldexp(fraction, 1 - format.bias - format.mantissa);
  return std::ldexp(fraction + static_cast<float>(1u << format.mantissa),
                    static_cast<int>(exponent) - format.bias - format.mantissa);
}

float f16_to_float(std::uint32_t bits) {
  std::uint32_t sign = (bits & 0x8000u) << 16, exponent = (bits >> 10) & 31,
                mantissa = bits & 0x3ff;
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7f800000u | (mantissa << 13));
  if (exponent == 0) {
    float magnitude = decode({10, 15}, 0, mantissa);
    return sign ? -magnitude : magnitude;
  }
  return std::bit_cast<float>(sign | ((exponent + 112) << 23) | (mantissa << 13));
}

float f8_to_float(std::uint32_t bits) {
  std::uint32_t exponent = (bits >> 3) & 15, mantissa = bits & 7;
  float magnitude = exponent == 15 && mantissa == 7 ? std::numeric_limits<float>::quiet_NaN()
                                                    : decode({3, 7}, exponent, mantissa);
  return bits & 0x80 ? -magnitude : magnitude;
}

// |value| rounded to a format's grid, as an integer of mantissa and exponent bits; overflow carries
// upward.
std::uint32_t encode(FloatFormat format, float magnitude) {
  if (magnitude == 0) return 0;
  int exponent = 0;
  std::frexp(magnitude, &exponent);
  int stored = std::max(exponent - 1 + format.bias, 1);
  // nearbyint rounds ties to even; a mantissa that rounds up to the next power carries into the
  // exponent.
  auto scaled = static_cast<std::uint32_t>(
      std::nearbyint(std::ldexp(magnitude, format.mantissa + format.bias - stored)));
  return (static_cast<std::uint32_t>(stored - 1) << format.mantissa) + scaled;
}

std::uint32_t float_to_f16(float value) {
  std::uint32_t sign = (std::bit_cast<std::uint32_t>(value) >> 16) & 0x8000;
  if (std::isnan(value)) return sign | 0x7e00;
  if (std::isinf(value)) return sign | 0x7c00;
  return sign | std::min<std::uint32_t>(encode({10, 15}, std::min(std::fabs(value), 1e6f)), 0x7c00);
}

std::uint32_t float_to_f8(float value) {
  std::uint32_t sign = (std::bit_cast<std::uint32_t>(value) >> 24) & 0x80;
  if (std::isnan(value)) return sign | 0x7f;
  return sign | std::min<std::uint32_t>(encode({3, 7}, std::min(std::fabs(value), 448.0f)), 0x7e);
}

std::uint32_t float_to_bf16(float value) {
  auto bits = std::bit_cast<std::uint32_t>(value);
  if (std::isnan(value)) return (bits >> 16) | 0x40;
  return (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
}

std::uint32_t float_to_i8(float value) {
  if (std::isnan(value)) return 0;
  auto rounded = static_cast<int>(std::nearbyint(std::min(std::max(value, -128.0f), 127.0f)));
  return static_cast<std::uint8_t>(rounded);
}

template <typename Bits, typename Convert>
void widen(const std::byte* in, std::span<float> out, Convert convert) {
  for (std::size_t i = 0; i < out.size(); ++i) {
    Bits bits;
    std::memcpy(&bits, in + i * sizeof(Bits), sizeof(Bits));
    out[i] = convert(bits);
  }
}

template <typename Bits, typename Convert>
void narrow(std::span<const float> in, std::byte* out, Convert convert) {
  for (std::size_t i = 0; i < in.size(); ++i) {
    auto bits = static_cast<Bits>(convert(in[i]));
    std::memcpy(out + i * sizeof(Bits), &bits, sizeof(Bits));
  }
}

[[noreturn]] void not_a_weight(Dtype dtype) {
  throw InvalidArgument(fmt::format("dtype {} is not a weight type (F32, F16, BF16, F8_E4M3 or I8)",
                                    dtype_name(dtype)));
}

}  // namespace

int dtype_bits(Dtype dtype) { return row(dtype).bits; }

int dtype_bytes(Dtype dtype) {
  if (row(dtype).bits % 8 != 0)
    throw InvalidArgument(fmt::format("dtype {} has no whole bytes", dtype_name(dtype)));
  return row(dtype).bits / 8;
}

std::string_view dtype_name(Dtype dtype) { return row(dtype).name; }

std::optional<Dtype> parse_dtype(std::string_view name) {
  for (std::size_t i = 0; i < kTable.size(); ++i)
    if (kTable[i].name == name) return static_cast<Dtype>(i);
  return std::nullopt;
}

bool is_weight_dtype(Dtype dtype) { return row(dtype).weight; }
bool is_floating(Dtype dtype) { return row(dtype).floating; }

float to_float(Dtype dtype, std::uint32_t bits) {
  switch (dtype) {
    case Dtype::f32:
      return std::bit_cast<float>(bits);
    case Dtype::bf16:
      return std::bit_cast<float>(bits << 16);
    case Dtype::f16:
      return f16_to_float(bits);
    case Dtype::f8_e4m3:
      return f8_to_float(bits);
    case Dtype::i8:
      return static_cast<float>(static_cast<std::int8_t>(bits));
    default:
      not_a_weight(dtype);
  }
}

std::uint32_t from_float(Dtype dtype, float value) {
  switch (dtype) {
    case Dtype::f32:
      return std::bit_cast<std::uint32_t>(value);
    case Dtype::bf16:
      return float_to_bf16(value);
    case Dtype::f16:
      return float_to_f16(value);
    case Dtype::f8_e4m3:
      return float_to_f8(value);
    case Dtype::i8:
      return float_to_i8(value);
    default:
      not_a_weight(dtype);
  }
}

void to_float(Dtype dtype, const std::byte* in, std::span<float> out) {
  if (out.empty()) return;
  switch (dtype) {
    case Dtype::f32:
      std::memcpy(out.data(), in, out.size_bytes());
      return;
    case Dtype::bf16:
      return widen<std::uint16_t>(in, out,
                                  [](std::uint32_t b) { return std::bit_cast<float>(b << 16); });
    case Dtype::f16:
      return widen<std::uint16_t>(in, out, f16_to_float);
    case Dtype::f8_e4m3:
      return widen<std::uint8_t>(in, out, f8_to_float);
    case Dtype::i8:
      return widen<std::int8_t>(in, out, [](int b) { return static_cast<float>(b); });
    default:
      not_a_weight(dtype);
  }
}

void from_float(Dtype dtype, std::span<const float> in, std::byte* out) {
  if (in.empty()) return;
  switch (dtype) {
    case Dtype::f32:
      std::memcpy(out, in.data(), in.size_bytes());
      return;
    case Dtype::bf16:
      return narrow<std::uint16_t>(in, out, float_to_bf16);
    case Dtype::f16:
      return narrow<std::uint16_t>(in, out, float_to_f16);
    case Dtype::f8_e4m3:
      return narrow<std::uint8_t>(in, out, float_to_f8);
    case Dtype::i8:
      return narrow<std::uint8_t>(in, out, float_to_i8);
    default:
      not_a_weight(dtype);
  }
}

}  // namespace coppice
