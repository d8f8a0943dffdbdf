#include "coppice/permutation.h"

#include <fmt/format.h>

#include <cstring>
#include <numeric>

#include "coppice/error.h"
#include "core/parallel_for.h"

namespace coppice {
namespace {

void check_shapes(const DenseView& in, const MutableDenseView& out) {
  if (in.rows != out.rows || in.cols != out.cols || in.dtype != out.dtype)
    throw InvalidArgument(fmt::format(
        "permuting {} x {} {} into {} x {} {}; need equal shapes and "
        "dtypes",
        in.rows, in.cols, dtype_name(in.dtype), out.rows, out.cols, dtype_name(out.dtype)));
}

}  // namespace

Permutation identity_permutation(std::int64_t size) {
  Permutation result(static_cast<std::size_t>(size));
  std::iota(result.begin(), result.end(), 0u);
  return result;
}

bool is_identity(std::span<const std::uint32_t> permutation) {
  for (std::size_t i = 0; i < permutation.size(); ++i)
    if (permutation[i] != i) return false;
  return true;
}

void check_permutation(std::span<const std::uint32_t> permutation, std::int64_t size,
                       std::string_view what) {
  if (std::ssize(permutation) != size)
    throw InvalidArgument(fmt::format("{} has {} entries, needs one for each of {} channels", what,
                                      permutation.size(), size));
  std::vector<bool> seen(permutation.size());
  for (std::size_t i = 0; i < permutation.size(); ++i) {
    const std::uint32_t channel = permutation[i];
    if (channel >= permutation.size())
      throw InvalidArgument(
          fmt::format("{}[{}] is {}, there are {} channels", what, i, channel, size));
    if (seen[channel])
      throw InvalidArgument(
          fmt::format("{}[{}] is {}, which is there before; every channel must be there once", what,
                      i, channel));
    seen[channel] = true;
  }
}

Permutation inverse(std::span<const std::uint32_t> permutation) {
  check_permutation(permutation, std::ssize(permutation));
  Permutation result(permutation.size());
  for (std::size_t i = 0; i < permutation.size(); ++i)
    result[permutation[i]] = static_cast<std::uint32_t>(i);
  return result;
}

Permutation compose(std::span<const std::uint32_t> first, std::span<const std::uint32_t> then) {
  check_permutation(first, std::ssize(then));
  check_permutation(then, std::ssize(first));
  Permutation result(first.size());
  for (std::size_t i = 0; i < result.size(); ++i) result[i] = first[then[i]];
  return result;
}

void permute_cols(const DenseView& in, std::span<const std::uint32_t> permutation,
                  const MutableDenseView& out, int threads) {
  check_shapes(in, out);
  check_permutation(permutation, in.cols);
  const auto bytes = static_cast<std::size_t>(dtype_bytes(in.dtype));
  parallel_for(in.rows, threads, [&](std::int64_t r) {
    const std::byte* from = in.row(r);
    std::byte* to = out.row(r);
    for (std::uint32_t col : permutation) {
      std::memcpy(to, from + col * bytes, bytes);
      to += bytes;
    }
  });
}

void permute_rows(const DenseView& in, std::span<const std::uint32_t> permutation,
                  const MutableDenseView& out, int threads) {
  check_shapes(in, out);
  check_permutation(permutation, in.rows);
  const auto bytes = static_cast<std::size_t>(in.cols * dtype_bytes(in.dtype));
  parallel_for(in.rows, threads, [&](std::int64_t r) {
    if (bytes > 0) std::memcpy(out.row(r), in.row(permutation[static_cast<std::size_t>(r)]), bytes);
  });
}

}  // namespace coppice
