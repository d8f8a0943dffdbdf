#include "arrays.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <thread>

#include "coppice/error.h"

namespace coppice::python {
namespace {

using Code = nb::dlpack::dtype_code;

struct TypeRow {
  Dtype dtype;
  Code code;
  int bits;
  const char* numpy;          // its name in NumPy and ml_dtypes
  const char* stand_in = {};  // how its bits travel where NumPy's own exports refuse the type
};
constexpr std::array<TypeRow, 5> kTypes{
    {{Dtype::f32, Code::Float, 32, "float32"},
     {Dtype::f16, Code::Float, 16, "float16"},
     {Dtype::bf16, Code::Bfloat, 16, "bfloat16", "uint16"},
     {Dtype::f8_e4m3, Code::Float8_E4M3FN, 8, "float8_e4m3fn", "uint8"},
     {Dtype::i8, Code::Int, 8, "int8"}}};

const TypeRow& type_row(Dtype dtype) {
  const auto* row = std::ranges::find(kTypes, dtype, &TypeRow::dtype);
  if (row == kTypes.end()) throw InvalidArgument("there is no array of this dtype");
  return *row;
}

std::string text_of(nb::handle object) { return nb::str(object).c_str(); }
std::string dtype_text(nb::handle object) {
  return nb::hasattr(object, "dtype") ? text_of(object.attr("dtype")) : "unknown";
}

// The row of an array of an ml_dtypes type, or null.
const TypeRow* stand_in_row(nb::handle object) {
  if (!nb::hasattr(object, "dtype") || !nb::hasattr(object.attr("dtype"), "name")) return nullptr;
  const std::string name = text_of(object.attr("dtype").attr("name"));
  const auto* row = std::ranges::find_if(
      kTypes, [&](const TypeRow& r) { return r.stand_in != nullptr && name == r.numpy; });
  return row == kTypes.end() ? nullptr : row;
}

template <typename Array>
Array import_array(nb::handle object, const char* name) {
  Array array;
  bool done = false;
  try {
    done = nb::try_cast(object, array);
  } catch (const nb::python_error&) {  // what the exporting library raised says less than below
  }
  if (!done)
    throw InvalidArgument(fmt::format(
        "{}: {} (dtype {}) cannot be read{} as an array; pass a NumPy array or an object that "
        "exports DLPack or the buffer protocol{}, such as a dense PyTorch tensor on the CPU",
        name, text_of(object.type().attr("__name__")), dtype_text(object),
        Array::ReadOnly ? "" : " and written", Array::ReadOnly ? "" : ", not read-only"));
  if (array.device_type() != nb::device::cpu::value)
    throw InvalidArgument(
        fmt::format("{}: it lies on another device than the CPU; pass x.cpu()", name));
  return array;
}

template <typename Array>
std::string shape_text(const Array& array) {
  std::vector<std::int64_t> sizes(array.shape_ptr(), array.shape_ptr() + array.ndim());
  return fmt::format("[{}]", fmt::join(sizes, ", "));
}

// Contiguous columns, rows apart by a stride that is not negative: what a DenseView can say.
template <typename Array>
std::int64_t row_stride(const Array& array, const char* name) {
  const std::int64_t rows = array.shape_ptr()[0], cols = array.shape_ptr()[1];
  const bool packed_row = cols <= 1 || array.stride(1) == 1;
  const bool rows_apart = rows <= 1 || array.stride(0) >= cols;
  if (rows > 0 && cols > 0 && !(packed_row && rows_apart))
    throw InvalidArgument(fmt::format(
        "{}: its strides are [{}, {}], but columns need to lie side by side and rows after each "
        "other; pass numpy.ascontiguousarray(x), which copies",
        name, array.stride(0), array.stride(1)));
  return rows <= 1 || cols == 0 ? 0 : array.stride(0);
}

template <typename Array, typename View>
View dense_view_of(const Array& array, const TypeRow* stand_in, const char* name) {
  if (array.ndim() != 2)
    throw InvalidArgument(
        fmt::format("{}: needs two dimensions [rows, cols], got {}", name, shape_text(array)));
  const TypeRow* row = stand_in;
  if (row == nullptr) {
    const nb::dlpack::dtype type = array.dtype();
    row = std::ranges::find_if(kTypes, [&](const TypeRow& r) {
      return static_cast<int>(r.code) == type.code && r.bits == type.bits && type.lanes == 1;
    });
    if (row == kTypes.end())
      throw InvalidArgument(fmt::format(
          "{}: needs float32, float16, bfloat16, float8_e4m3fn or int8; convert it first", name));
  }
  View view;
  view.data = static_cast<decltype(view.data)>(
      static_cast<std::conditional_t<Array::ReadOnly, const void*, void*>>(array.data()));
  view.dtype = row->dtype;
  view.rows = array.shape_ptr()[0];
  view.cols = array.shape_ptr()[1];
  view.row_stride = row_stride(array, name);
  return view;
}

nb::object new_array(const std::vector<std::int64_t>& shape, nb::handle dtype) {
  nb::list sizes;
  for (const std::int64_t size : shape) sizes.append(size);
  return nb::module_::import_("numpy").attr("empty")(nb::tuple(sizes), dtype);
}

// The bits of an array under a type that every exporter knows.
nb::object bits_of(nb::handle object, const TypeRow* stand_in) {
  return stand_in == nullptr ? nb::borrow(object) : object.attr("view")(stand_in->stand_in);
}

template <typename T, typename Array>
BasicActivations<T> activations_view(const Array& array, const char* name, Layout axes) {
  if (array.dtype() != nb::dtype<float>())
    throw InvalidArgument(
        fmt::format("{}: the CPU engine multiplies float32 activations, got another dtype; convert "
                    "it first",
                    name));
  if (array.ndim() != 1 && array.ndim() != 2)
    throw InvalidArgument(
        fmt::format("{}: needs {}, or [features] for one token; got {}", name,
                    axes == Layout::token_major ? "[tokens, features]" : "[features, tokens]",
                    shape_text(array)));
  BasicActivations<T> view;
  view.data = static_cast<T*>(array.data());
  const int token_axis = axes == Layout::token_major ? 0 : 1;
  std::int64_t token_stride = 0, feature_stride = 0;
  if (array.ndim() == 1) {
    view.tokens = 1;
    view.features = array.shape_ptr()[0];
    feature_stride = array.stride(0);
  } else {
    view.tokens = array.shape_ptr()[token_axis];
    view.features = array.shape_ptr()[1 - token_axis];
    token_stride = array.stride(static_cast<std::size_t>(token_axis));
    feature_stride = array.stride(static_cast<std::size_t>(1 - token_axis));
  }
  if (view.tokens == 0 || view.features == 0) return view;
  if ((view.features == 1 || feature_stride == 1) &&
      (view.tokens == 1 || token_stride >= view.features)) {
    view.layout = Layout::token_major;
    view.stride = view.tokens == 1 ? 0 : token_stride;
  } else if ((view.tokens == 1 || token_stride == 1) &&
             (view.features == 1 || feature_stride >= view.tokens)) {
    view.layout = Layout::feature_major;
    view.stride = view.features == 1 ? 0 : feature_stride;
  } else {
    throw InvalidArgument(fmt::format(
        "{}: neither its tokens nor its features lie side by side; pass numpy.ascontiguousarray(x),"
        " which copies",
        name));
  }
  return view;
}

}  // namespace

WeightInput weight_input(nb::handle object, const char* name) {
  const TypeRow* stand_in = stand_in_row(object);
  WeightInput result;
  result.memory = import_array<Memory>(bits_of(object, stand_in), name);
  result.view = dense_view_of<Memory, DenseView>(result.memory, stand_in, name);
  return result;
}

WeightOutput weight_output(nb::handle object, const char* name) {
  const TypeRow* stand_in = stand_in_row(object);
  WeightOutput result;
  result.array = nb::borrow(object);
  result.memory = import_array<nb::ndarray<>>(bits_of(object, stand_in), name);
  result.view = dense_view_of<nb::ndarray<>, MutableDenseView>(result.memory, stand_in, name);
  return result;
}

nb::object numpy_dtype(Dtype dtype) {
  const TypeRow& row = type_row(dtype);
  if (row.stand_in == nullptr) return nb::module_::import_("numpy").attr("dtype")(row.numpy);
  return nb::module_::import_("numpy").attr("dtype")(
      nb::module_::import_("ml_dtypes").attr(row.numpy));
}

WeightOutput new_weight(Dtype dtype, std::int64_t rows, std::int64_t cols) {
  return weight_output(new_array({rows, cols}, numpy_dtype(dtype)), "the new array");
}

Mask mask_input(nb::handle object, const char* name) {
  const Memory array = import_array<Memory>(object, name);
  if (array.dtype() != nb::dtype<bool>() || array.ndim() != 2)
    throw InvalidArgument(
        fmt::format("{}: needs a bool matrix [rows, cols], got {} dimensions of dtype {}", name,
                    array.ndim(), dtype_text(object)));
  const auto* data = static_cast<const std::uint8_t*>(array.data());
  Mask mask(array.shape_ptr()[0], array.shape_ptr()[1]);
  for (std::int64_t r = 0; r < mask.rows(); ++r)
    for (std::int64_t c = 0; c < mask.cols(); ++c)
      if (data[r * array.stride(0) + c * array.stride(1)] != 0) mask.set(r, c);
  return mask;
}

nb::object mask_array(const Mask& mask) {
  nb::object array =
      new_array({mask.rows(), mask.cols()}, nb::module_::import_("numpy").attr("dtype")("bool"));
  const auto memory = nb::cast<nb::ndarray<bool, nb::ndim<2>, nb::c_contig>>(array);
  bool* out = memory.data();
  for (std::int64_t r = 0; r < mask.rows(); ++r)
    for (std::int64_t c = 0; c < mask.cols(); ++c) *out++ = mask.get(r, c);
  return array;
}

template <typename T>
Numbers<T> numbers(nb::handle object, const char* name, std::span<const std::int64_t> shape) {
  Numbers<T> result;
  result.memory = import_array<Memory>(object, name);
  const Memory& array = result.memory;
  const char* type = std::is_same_v<T, float>    ? "float32"
                     : std::is_same_v<T, double> ? "float64"
                                                 : "uint32";
  bool fits = array.ndim() == shape.size(), packed = true;
  std::int64_t step = 1;
  for (std::size_t i = array.ndim(); fits && i-- > 0;) {
    const std::int64_t size = array.shape_ptr()[i];
    fits = shape[i] < 0 || size == shape[i];
    packed = packed && (size <= 1 || array.stride(i) == step);
    step *= size;
  }
  if (!fits)
    throw InvalidArgument(fmt::format("{}: needs the shape [{}], got {}", name,
                                      fmt::join(shape, ", "), shape_text(array)));
  if (array.dtype() != nb::dtype<T>() || (!packed && step != 0))
    throw InvalidArgument(fmt::format(
        "{}: needs contiguous {}; pass numpy.ascontiguousarray(x, \"{}\"), which copies", name,
        type, type));
  result.values = {static_cast<const T*>(array.data()), array.size()};
  return result;
}
template Numbers<float> numbers(nb::handle, const char*, std::span<const std::int64_t>);
template Numbers<double> numbers(nb::handle, const char*, std::span<const std::int64_t>);
template Numbers<std::uint32_t> numbers(nb::handle, const char*, std::span<const std::int64_t>);

std::vector<std::uint32_t> permutation_input(nb::handle object, const char* name) {
  if (object.is_none()) return {};
  const std::array<std::int64_t, 1> shape{-1};
  const Numbers<std::uint32_t> given = numbers<std::uint32_t>(object, name, shape);
  return {given.values.begin(), given.values.end()};
}

nb::object array_of(std::span<const std::uint32_t> values) {
  nb::object array = new_array({std::ssize(values)}, nb::str("uint32"));
  std::ranges::copy(values, nb::cast<nb::ndarray<std::uint32_t, nb::ndim<1>>>(array).data());
  return array;
}

nb::object array_of(std::span<const double> values, std::vector<std::int64_t> shape) {
  nb::object array = new_array(shape, nb::str("float64"));
  std::ranges::copy(values, nb::cast<nb::ndarray<double>>(array).data());
  return array;
}

std::vector<std::byte> bytes_input(nb::handle object, const char* name) {
  if (object.is_none()) return {};
  nb::ndarray<const std::uint8_t, nb::c_contig, nb::device::cpu> bytes;
  if (!nb::try_cast(object, bytes))
    throw InvalidArgument(fmt::format("{}: needs a contiguous uint8 array or None", name));
  const auto* data = reinterpret_cast<const std::byte*>(bytes.data());
  return {data, data + bytes.size()};
}

ActivationsInput activations_input(nb::handle object, const char* name, Layout axes) {
  ActivationsInput result;
  result.memory = import_array<Memory>(object, name);
  result.view = activations_view<const float>(result.memory, name, axes);
  result.one_token = result.memory.ndim() == 1;
  return result;
}

ActivationsOutput activations_output(nb::handle object, const char* name, Layout axes) {
  ActivationsOutput result;
  result.array = nb::borrow(object);
  result.memory = import_array<nb::ndarray<>>(object, name);
  result.view = activations_view<float>(result.memory, name, axes);
  return result;
}

ActivationsOutput new_activations(std::int64_t tokens, std::int64_t features, Layout axes,
                                  bool one_token) {
  std::vector<std::int64_t> shape{tokens, features};
  if (axes == Layout::feature_major) std::swap(shape[0], shape[1]);
  if (one_token) shape = {features};
  return activations_output(new_array(shape, nb::str("float32")), "the new array", axes);
}

Pattern pattern_of(const PatternArgument& argument) {
  if (const auto* pattern = std::get_if<Pattern>(&argument)) return *pattern;
  return Pattern::parse(std::get<std::string>(argument));
}

int thread_count(int threads) {
  if (threads < 0)
    throw InvalidArgument(
        fmt::format("threads: got {}, needs 1 or more, or 0 for all processors", threads));
  return threads > 0 ? threads
                     : static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
}

void bad_name(std::string_view what, std::string_view got,
              const std::vector<std::string_view>& names) {
  throw InvalidArgument(
      fmt::format("{}: got \"{}\", needs one of {}", what, got, fmt::join(names, ", ")));
}

}  // namespace coppice::python
