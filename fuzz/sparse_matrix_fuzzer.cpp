// Any bytes as the arrays of a small weight: `validate` refuses them, or everything that reads a
// SparseView works on them and agrees.
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "coppice/error.h"
#include "coppice/sparse_matrix.h"

namespace {

using namespace coppice;

void require(bool holds) {
  if (!holds) std::abort();
}

// Takes numbers and arrays off the front of the input; zeros when it is used up.
class Input {
 public:
  Input(const std::uint8_t* data, std::size_t size) : rest_(data, size) {}

  int number(int low, int high) {
    unsigned value = 0;
    for (int i = 0; i < 2 && !rest_.empty(); ++i) {
      value = value << 8 | rest_.front();
      rest_ = rest_.subspan(1);
    }
    return low + static_cast<int>(value % static_cast<unsigned>(high - low + 1));
  }

  std::vector<std::byte> bytes(std::int64_t count) {
    std::vector<std::byte> out(static_cast<std::size_t>(count));
    const std::size_t here = std::min(out.size(), rest_.size());
    if (here > 0) std::memcpy(out.data(), rest_.data(), here);
    rest_ = rest_.subspan(here);
    return out;
  }

  std::vector<std::int64_t> segments(int size) {
    std::vector<std::int64_t> lengths;
    for (int parts = number(0, 3); parts > 0 && size > 0; --parts) {
      lengths.push_back(number(0, size));
      size -= static_cast<int>(lengths.back());
    }
    if (!lengths.empty()) lengths.push_back(size);
    return lengths;
  }

 private:
  std::span<const std::uint8_t> rest_;
};

SparseMatrix read_weight(Input& input) {
  constexpr Dtype kDtypes[] = {Dtype::f32, Dtype::f16, Dtype::bf16, Dtype::f8_e4m3, Dtype::i8};
  const int group = input.number(1, 256), kept = input.number(1, group);
  const int inner = input.number(0, 1) == 0 ? 0 : input.number(1, kept);
  const Pattern pattern =
      Pattern::make(input.number(1, 40), inner == 0 ? input.number(1, 70) : 1, kept, group, inner);
  const int rows = input.number(0, 90), cols = input.number(0, 400);
  const auto row_segments = input.segments(rows), col_segments = input.segments(cols);
  const Dtype dtype = kDtypes[input.number(0, 4)];
  const std::vector<std::byte> zeros(static_cast<std::size_t>(rows * cols * dtype_bytes(dtype)));
  SparseMatrix sparse = compress(DenseView{zeros.data(), dtype, rows, cols, 0}, Mask(rows, cols),
                                 pattern, {row_segments, col_segments, {}, 1});
  // The input is what differs from a valid weight, so that few bytes lead deep; now and then a size
  // is wrong.
  for (auto* array : {&sparse.columns, &sparse.metadata, &sparse.values}) {
    const int more = std::max(0, input.number(-60, 2));
    const auto change = input.bytes(std::ssize(*array));
    for (std::size_t i = 0; i < change.size(); ++i) (*array)[i] ^= change[i];
    array->resize(array->size() + static_cast<std::size_t>(more));
  }
  if (input.number(0, 1) == 1) {
    for (int c = 0; c < cols; ++c) sparse.input_permutation.push_back(static_cast<unsigned>(c));
    for (int swaps = input.number(0, 9); swaps > 0 && cols > 0; --swaps)
      sparse.input_permutation[static_cast<std::size_t>(input.number(0, cols - 1))] =
          static_cast<unsigned>(input.number(0, cols));
  }
  return sparse;
}

std::vector<std::byte> dense_of(const SparseView& sparse) {
  const Grid& grid = *sparse.grid;
  std::vector<std::byte> out(
      static_cast<std::size_t>(grid.rows() * grid.cols() * dtype_bytes(sparse.dtype)));
  decompress(sparse, {out.data(), sparse.dtype, grid.rows(), grid.cols(), 0});
  return out;
}

void use(const SparseMatrix& sparse, Input& input) {
  const Grid& grid = *sparse.grid;
  const auto dense = dense_of(sparse.view());
  const DenseView view{dense.data(), sparse.dtype, grid.rows(), grid.cols(), 0};
  const SparseMatrix again =
      compress(view, stored_mask(sparse.view()), grid.pattern(),
               {grid.shape().row_segments, grid.shape().col_segments, sparse.input_permutation, 1});
  validate(again.view());
  require(dense_of(again.view()) == dense);

  const auto slice = [&](auto&& cut, int size) {
    int begin = input.number(0, size), end = input.number(0, size);
    try {
      const SparseMatrix part = cut(sparse.view(), begin, end);
      validate(part.view());
      dense_of(part.view());
    } catch (const InvalidArgument&) {
    }
  };
  slice(slice_rows, static_cast<int>(grid.rows()));
  slice(slice_cols, static_cast<int>(grid.cols()));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Input input(data, size);
  const SparseMatrix sparse = read_weight(input);
  try {
    validate(sparse.view());
  } catch (const InvalidArgument&) {
    return 0;
  }
  use(sparse, input);
  return 0;
}
