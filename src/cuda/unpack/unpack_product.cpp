#include "cuda/unpack/unpack_product.h"

#include <algorithm>

#include "core/rounding.h"
#include "cuda/unpack/finish.h"
#include "cuda/unpack/unpack_arguments.h"

namespace coppice::cuda {
namespace {

std::uint32_t alignment_of(const void* data) {
  const auto address = reinterpret_cast<std::uintptr_t>(data) | 16U;
  return static_cast<std::uint32_t>(address & (~address + 1));
}

/// One call: a product in parts of the tokens.
class UnpackedProduct {
 public:
  UnpackedProduct(const Selection& selection, const ProductInfo& product, DenseLibrary& library,
                  const Matrix& x, const EpilogueArguments& epilogue, std::byte* workspace,
                  const WorkspacePlaces& at, Stream stream)
      : library_(library), x_(x), e_(epilogue), at_(at), workspace_(workspace), stream_(stream) {
    problem_.dtype = x.dtype;
    problem_.out = e_.f32_out ? Dtype::f32 : x.dtype;
    problem_.tf32 = selection.shape == 1;
    problem_.x_token_major = x.layout == Layout::token_major;
    problem_.y_token_major = e_.token_major;
    problem_.rows = product.rows;
    problem_.cols = product.cols;
    problem_.w_stride = unpacked_stride(product);
    problem_.x_stride = x.major_stride();
    problem_.workspace_bytes = at.library_bytes;
    divide_epilogue();
  }

  void run() {
    // What the pass reads must not be what the product overwrites: then sums lie elsewhere, as
    // many as there is room for.
    const bool elsewhere = finishes_ && !problem_.adds && e_.residual == e_.y;
    const std::int64_t part = elsewhere ? tokens_elsewhere() : x_.tokens;
    for (std::int64_t first = 0; first < x_.tokens; first += part)
      run_part(first, std::min(part, x_.tokens - first), elsewhere);
  }

 private:
  // The library adds a residual and, to token-major outputs, a bias of their dtype; all else is
  // left to a pass of our own.
  void divide_epilogue() {
    const bool plain = e_.activation == Activation::none && !e_.multiplies;
    const bool f32_bias = e_.f32_bias || x_.dtype == Dtype::f32;
    problem_.adds = plain && e_.residual != nullptr;
    problem_.biased = plain && e_.bias != nullptr && e_.token_major &&
                      alignment_of(e_.bias) == 16 && f32_bias == (problem_.out == Dtype::f32);
    finishes_ = !plain || (e_.bias != nullptr && !problem_.biased);
  }

  std::int64_t tokens_elsewhere() const {
    const std::int64_t element = dtype_bytes(problem_.out);
    const std::int64_t most = at_.sum_bytes / (element * round_up(problem_.rows, 8)) / 8 * 8;
    // Parts that products like.
    return most >= 256 ? most / 256 * 256 : most;
  }

  // Elements from the first token of a matrix to another one.
  static std::int64_t skipped(bool token_major, std::int64_t tokens, std::int64_t stride) {
    return token_major ? tokens * stride : tokens;
  }

  void run_part(std::int64_t first, std::int64_t tokens, bool elsewhere) {
    const std::int64_t in = dtype_bytes(x_.dtype), out = dtype_bytes(problem_.out);
    const std::int64_t y_skipped = out * skipped(e_.token_major, first, e_.y_stride);
    EpilogueArguments e = e_;
    e.y = static_cast<std::byte*>(e_.y) + y_skipped;
    if (e_.residual != nullptr) e.residual = static_cast<const std::byte*>(e_.residual) + y_skipped;
    void* sums = elsewhere ? workspace_ + at_.sums : e.y;
    const std::int64_t sums_stride =
        !elsewhere ? e.y_stride : round_up(e.token_major ? problem_.rows : tokens, 8);
    DenseOperands o;
    o.w = workspace_ + at_.weight;
    o.x = static_cast<const std::byte*>(x_.data) +
          in * skipped(problem_.x_token_major, first, problem_.x_stride);
    o.y = sums;
    o.c = e.residual;
    o.bias = e.bias;
    o.alpha = e.alpha;
    o.workspace = workspace_ + at_.library;
    DenseProblem problem = problem_;
    problem.tokens = tokens;
    problem.y_stride = sums_stride;
    problem.x_alignment = alignment_of(o.x);
    problem.y_alignment = alignment_of(sums);
    if (problem.adds) problem.y_alignment = std::min(problem.y_alignment, alignment_of(o.c));
    bool finishes = finishes_;
    if (problem.biased && !library_.can_multiply(problem)) {
      problem.biased = false;
      finishes = true;
    }
    library_.multiply(problem, o, stream_);
    if (!finishes) return;
    if (problem.adds) e.residual = nullptr;
    FinishArguments f;
    f.epilogue = e;
    f.sums = sums;
    f.sums_stride = sums_stride;
    f.rows = static_cast<std::int32_t>(problem.rows);
    f.tokens = static_cast<std::int32_t>(tokens);
    launch_finish(f, x_.dtype, stream_);
  }

  DenseLibrary& library_;
  const Matrix& x_;
  const EpilogueArguments& e_;
  const WorkspacePlaces& at_;
  std::byte* workspace_;
  Stream stream_;
  DenseProblem problem_;
  bool finishes_ = false;
};

}  // namespace

void multiply_unpacked(const Selection& selection, const ElementPacked& packed,
                       const ProductInfo& product, DenseLibrary& library, const Matrix& x,
                       const EpilogueArguments& epilogue, std::byte* workspace, Stream stream) {
  const WorkspacePlaces at = workspace_places(selection, product);
  UnpackArguments u;
  u.weight = packed.weight;
  u.out = workspace + at.weight;
  u.stride = unpacked_stride(product);
  launch_unpack_dense(u, stream);
  UnpackedProduct(selection, product, library, x, epilogue, workspace, at, stream).run();
}

namespace {

// Where the records of 2:4 go; `arguments` are from now on those of a product by them.
RecordsOutput take_records(const ProductInfo& product, const WorkspacePlaces& at,
                           std::byte* workspace, int tile_rows, ProductArguments& arguments) {
  const ProductInfo records = as_two_four(product);
  RecordsOutput out;
  out.records = workspace + at.weight;
  out.blocks = static_cast<std::int32_t>(records.blocks);
  out.steps = static_cast<std::int32_t>(records.steps);
  out.tiles = reinterpret_cast<RowTile*>(workspace + at.tiles);
  out.tile_rows = tile_rows;
  out.tile_count = static_cast<std::int32_t>((product.rows + tile_rows - 1) / tile_rows);
  arguments.records = out.records;
  arguments.columns.data = nullptr;
  arguments.steps = out.steps;
  arguments.block_count = out.blocks;
  arguments.row_tiles = out.tiles;
  arguments.row_tile_count = out.tile_count;
  arguments.expanded_before = true;
  return out;
}

}  // namespace

void unpack_two_four(const ElementPacked& packed, const ProductInfo& product,
                     const WorkspacePlaces& at, std::byte* workspace, int tile_rows,
                     ProductArguments& arguments, Stream stream) {
  UnpackArguments u;
  u.weight = packed.weight;
  u.two_four = take_records(product, at, workspace, tile_rows, arguments);
  launch_unpack_two_four(u, stream);
}

void spread_two_four(const ProductInfo& product, const WorkspacePlaces& at, std::byte* workspace,
                     int tile_rows, ProductArguments& arguments, Stream stream) {
  SpreadArguments s;
  s.records = arguments.records;
  s.columns = arguments.columns;
  s.units = arguments.units;
  s.unit_count = arguments.block_count * kBlockUnits;
  s.steps = arguments.steps;
  s.rows = arguments.rows;
  s.cols = arguments.cols;
  s.out = take_records(product, at, workspace, tile_rows, arguments);
  launch_spread(s, stream);
}

}  // namespace coppice::cuda
