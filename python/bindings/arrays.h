// Arrays between Python and C++. In: whatever exports DLPack or the buffer protocol, never copied.
// Out: new NumPy arrays. Types that NumPy does not know come from ml_dtypes.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "coppice/linear.h"
#include "coppice/mask.h"
#include "coppice/sparse_matrix.h"

namespace nb = nanobind;

namespace coppice::python {

/// Read-only memory of a Python object, which it keeps alive. Used and destroyed with the GIL held.
using Memory = nb::ndarray<nb::ro>;

/// `[rows, cols]` of a weight dtype whose columns lie side by side.
struct WeightInput {
  Memory memory;
  DenseView view;
};
/// Throws InvalidArgument, which calls the array `name`, if the object is not such a matrix.
WeightInput weight_input(nb::handle object, const char* name);

/// The same, writable.
struct WeightOutput {
  nb::object array;
  nb::ndarray<> memory;
  MutableDenseView view;
};
WeightOutput weight_output(nb::handle object, const char* name);
/// A new array.
WeightOutput new_weight(Dtype dtype, std::int64_t rows, std::int64_t cols);

/// A bool matrix; and a new one from a mask.
Mask mask_input(nb::handle object, const char* name);
nb::object mask_array(const Mask& mask);

/// Packed numbers of one type, with exactly `shape` (-1: any size). Throws InvalidArgument.
template <typename T>
struct Numbers {
  Memory memory;
  std::span<const T> values;
};
template <typename T>
Numbers<T> numbers(nb::handle object, const char* name, std::span<const std::int64_t> shape);
extern template Numbers<float> numbers(nb::handle, const char*, std::span<const std::int64_t>);
extern template Numbers<double> numbers(nb::handle, const char*, std::span<const std::int64_t>);
extern template Numbers<std::uint32_t> numbers(nb::handle, const char*,
                                               std::span<const std::int64_t>);

/// A Python text of all of it, zero bytes too.
inline nb::str python_text(const std::string& text) { return nb::str(text.data(), text.size()); }

/// None, or [cols]: a permutation.
std::vector<std::uint32_t> permutation_input(nb::handle object, const char* name);
/// The bytes of a contiguous uint8 array; none of None.
std::vector<std::byte> bytes_input(nb::handle object, const char* name);
/// A new NumPy array of them.
nb::object array_of(std::span<const std::uint32_t> values);
nb::object array_of(std::span<const double> values, std::vector<std::int64_t> shape);

/// fp32 activations, `[tokens, features]` or `[features, tokens]` as `axes` says, or one token
/// `[features]`; the strides say which index is contiguous.
struct ActivationsInput {
  Memory memory;
  Activations view;
  bool one_token = false;
};
ActivationsInput activations_input(nb::handle object, const char* name, Layout axes);
struct ActivationsOutput {
  nb::object array;
  nb::ndarray<> memory;
  MutableActivations view;
};
ActivationsOutput activations_output(nb::handle object, const char* name, Layout axes);
ActivationsOutput new_activations(std::int64_t tokens, std::int64_t features, Layout axes,
                                  bool one_token);

/// The NumPy dtype of a weight dtype.
nb::object numpy_dtype(Dtype dtype);

/// A pattern or its spelling.
using PatternArgument = std::variant<Pattern, std::string>;
Pattern pattern_of(const PatternArgument& argument);

/// 0: all processors that this process may use. Throws InvalidArgument if negative.
int thread_count(int threads);

/// One of some names. Throws InvalidArgument that lists them.
template <typename T>
struct NamedValue {
  std::string_view name;
  T value;
};
[[noreturn]] void bad_name(std::string_view what, std::string_view got,
                           const std::vector<std::string_view>& names);
template <typename T, std::size_t N>
T named(std::string_view what, std::string_view got, const std::array<NamedValue<T>, N>& values) {
  std::vector<std::string_view> names;
  for (const NamedValue<T>& value : values) {
    if (value.name == got) return value.value;
    names.push_back(value.name);
  }
  bad_name(what, got, names);
}

}  // namespace coppice::python
