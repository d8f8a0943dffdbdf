// Element types: all that safetensors knows, and which of them Coppice compresses.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace coppice {

/// Element types of safetensors. f32, f16, bf16, f8_e4m3 and i8 can be compressed; all can be
/// copied.
enum class Dtype : std::uint8_t {
  boolean,
  u8,
  i8,
  f8_e5m2,
  f8_e4m3,
  f8_e8m0,
  f4,
  f6_e2m3,
  f6_e3m2,
  i16,
  u16,
  f16,
  bf16,
  i32,
  u32,
  f32,
  f64,
  i64,
  u64,
  c64,
  f8_e4m3fnuz,  // without infinities and negative zero, as AMD's MI300 computes; added at the end,
  f8_e5m2fnuz,  // so that the numbers of the others stay
};

/// Bits of one element (4 and 6 for the sub-byte types).
int dtype_bits(Dtype dtype);

/// Bytes of one element. Throws InvalidArgument for sub-byte types.
int dtype_bytes(Dtype dtype);

/// The safetensors spelling, such as "BF16".
std::string_view dtype_name(Dtype dtype);

/// From the safetensors spelling; nothing if unknown.
std::optional<Dtype> parse_dtype(std::string_view name);

/// True for f32, f16, bf16, f8_e4m3 and i8: the types of a weight that can be pruned and
/// compressed.
bool is_weight_dtype(Dtype dtype);

/// True for the types that can hold a NaN or an infinity.
bool is_floating(Dtype dtype);

/// One element to float, exact for every weight dtype.
/// @param bits the element's bits, in the low end.
float to_float(Dtype dtype, std::uint32_t bits);

/// Nearest element, ties to even; i8 and f8_e4m3 saturate. @returns the bits in the low end.
std::uint32_t from_float(Dtype dtype, float value);

/// Elements of a weight dtype to floats. @param in `out.size()` elements, host, any alignment.
void to_float(Dtype dtype, const std::byte* in, std::span<float> out);

/// Floats to elements of a weight dtype. @param out room for `in.size()` elements, any alignment.
void from_float(Dtype dtype, std::span<const float> in, std::byte* out);

}  // namespace coppice
