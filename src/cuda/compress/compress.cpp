#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "coppice/cuda_compress.h"
#include "coppice/error.h"
#include "cuda/check.h"
#include "cuda/compress/arguments.h"

namespace coppice::cuda {
namespace {

constexpr std::int64_t kAlignment = 256;

/// Which kernels make the choices.
enum class Way : std::uint8_t { two_four, elements, blocks, small_vnm, vnm_search };

bool only_last_is_short(const Grid& grid) {
  const auto groups = grid.groups();
  return groups.empty() || std::ranges::all_of(groups.first(groups.size() - 1),
                                               [](auto& group) { return group.cols == 4; });
}

Way way_of(const Grid& grid) {
  const Pattern& p = grid.pattern();
  if (p.has_inner()) {
    if (p.kept != 4 || p.inner_kept != 2)
      throw InvalidArgument(
          fmt::format("{} cannot be compressed on the GPU, only V:2:M, which keeps 2 of 4 columns; "
                      "compress it on the CPU",
                      p.to_string()));
    return p.group <= kSmallGroup ? Way::small_vnm : Way::vnm_search;
  }
  if (p.vec_rows > 1 || p.block_cols > 1) return Way::blocks;
  return p.is_two_four() && only_last_is_short(grid) ? Way::two_four : Way::elements;
}

template <typename T>
DeviceBuffer upload(std::span<const T> host) {
  DeviceBuffer buffer(host.size_bytes());
  if (!host.empty())
    check(cudaMemcpy(buffer.data(), host.data(), host.size_bytes(), cudaMemcpyHostToDevice),
          "copying a grid to the device");
  return buffer;
}

/// Bytes of the arrays in the workspace, in this order.
struct WorkspaceSizes {
  std::int64_t nan = 8, choices = 0, picks = 0, block_sums = 0, live = 0, scratch = 0;
};

std::int64_t aligned(std::int64_t bytes) {
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

}  // namespace

struct MagnitudeCompressor::Impl {
  std::shared_ptr<const Grid> grid;
  Dtype dtype = Dtype::f16;
  Way way = Way::elements;
  int device = 0;
  DeviceBuffer groups, vectors;
  CompressArguments arguments;  // all but the pointers of a call
  WorkspaceSizes sizes;

  Impl(std::shared_ptr<const Grid> g, Dtype type);
  void plan_workspace();
  void place_workspace(std::byte* workspace, CompressArguments& a) const;
  void choose(const CompressArguments& a, const SparseBuffers& out, cudaStream_t stream) const;
  void write(const CompressArguments& a, const SparseBuffers& out, cudaStream_t stream) const;
  void check_call(const void* dense, std::int64_t stride, const SparseBuffers& out,
                  const void* workspace) const;
};

MagnitudeCompressor::Impl::Impl(std::shared_ptr<const Grid> g, Dtype type)
    : grid(std::move(g)), dtype(type) {
  if (grid == nullptr) throw InvalidArgument("a compressor without a grid");
  if (dtype != Dtype::f16 && dtype != Dtype::bf16 && dtype != Dtype::f32)
    throw InvalidArgument(fmt::format(
        "{} cannot be compressed on the GPU, only F16, BF16 and F32; compress it on the CPU",
        dtype_name(dtype)));
  if (grid->cols() > std::numeric_limits<std::int32_t>::max())
    throw InvalidArgument(
        fmt::format("a weight of {} columns is too wide, at most 2^31 - 1", grid->cols()));
  way = way_of(*grid);
  check(cudaGetDevice(&device), "asking for the current device");
  groups = upload(grid->groups());
  vectors = upload(grid->vectors());

  const Pattern& pattern = grid->pattern();
  arguments.rows = grid->rows();
  arguments.cols = grid->cols();
  arguments.groups = groups.as<ColumnGroup>();
  arguments.vectors = vectors.as<RowVector>();
  arguments.group_count = static_cast<std::int32_t>(grid->groups().size());
  arguments.vector_count = static_cast<std::int32_t>(grid->vectors().size());
  arguments.group_cols = pattern.group * pattern.block_cols;
  arguments.blocks = pattern.group;
  arguments.vec_rows = pattern.vec_rows;
  arguments.kept = grid->kept();
  arguments.live_cols = grid->live_cols();
  arguments.choice_words = (pattern.group + 31) / 32;
  plan_workspace();
}

void MagnitudeCompressor::Impl::plan_workspace() {
  CompressArguments& a = arguments;
  const std::int64_t group_count = a.group_count, vector_count = a.vector_count;
  const bool stored = grid->has_columns() || grid->has_metadata();
  if (stored && way != Way::two_four)
    sizes.choices =
        (way == Way::elements ? a.rows : vector_count) * group_count * a.choice_words * 4;
  if (way == Way::small_vnm || way == Way::vnm_search) sizes.picks = group_count * a.rows;
  if (way == Way::blocks) {
    sizes.block_sums = vector_count * group_count * a.blocks * std::int64_t{sizeof(double)};
    sizes.live = vector_count * a.live_cols * 4;
  }
  if (way == Way::vnm_search) {
    int multiprocessors = 0;
    check(cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, device),
          "asking for the number of multiprocessors");
    a.search_blocks = kSearchBlocks * multiprocessors;
    const std::int64_t ints = search_ints(a.group_cols, a.vec_rows);
    a.scratch_ints = ints * 4 <= kSearchSharedBytes ? 0 : ints;
    sizes.scratch = a.search_blocks * a.scratch_ints * 4;
  }
}

void MagnitudeCompressor::Impl::place_workspace(std::byte* workspace, CompressArguments& a) const {
  auto take = [&workspace]<typename T>(T*& pointer, std::int64_t bytes) {
    pointer = bytes > 0 ? reinterpret_cast<T*>(workspace) : nullptr;
    workspace += aligned(bytes);
  };
  take(a.nan, sizes.nan);
  take(a.choices, sizes.choices);
  take(a.picks, sizes.picks);
  take(a.block_sums, sizes.block_sums);
  take(a.live, sizes.live);
  take(a.scratch, sizes.scratch);
}

void MagnitudeCompressor::Impl::choose(const CompressArguments& a, const SparseBuffers& out,
                                       cudaStream_t stream) const {
  switch (way) {
    case Way::two_four:
      return launch_two_four(a, dtype, static_cast<std::uint8_t*>(out.metadata),
                             grid->metadata_bytes_per_row(), stream);
    case Way::elements:
      return launch_elements(a, dtype, stream);
    case Way::blocks:
      return launch_blocks(a, dtype, stream);
    case Way::small_vnm:
      return launch_small_vnm(a, dtype, stream);
    case Way::vnm_search:
      return launch_vnm_search(a, dtype, stream);
  }
}

void MagnitudeCompressor::Impl::write(const CompressArguments& a, const SparseBuffers& out,
                                      cudaStream_t stream) const {
  if (way == Way::two_four) return;
  const auto arguments_for = [&](std::int64_t owners, std::int64_t bytes, std::int64_t full_bits,
                                 void* array) {
    return ChoiceArguments{
        a.groups, a.group_count, owners, bytes, static_cast<std::uint8_t*>(array), full_bits};
  };
  const Pattern& pattern = grid->pattern();
  if (grid->has_columns()) {
    const ChoiceCode code = grid->column_code();
    const auto c = arguments_for(a.vector_count, grid->column_bytes_per_vector(),
                                 code.size(pattern.kept, pattern.group), out.columns);
    write_block_choices(c, a.choices, a.choice_words, code, false, stream);
  }
  if (grid->has_metadata()) {
    const ChoiceCode code = grid->metadata_code();
    const auto c =
        arguments_for(a.rows, grid->metadata_bytes_per_row(), code.size(2, 4), out.metadata);
    if (pattern.has_inner())
      write_picks(c, a.picks, stream);
    else
      write_block_choices(c, a.choices, a.choice_words, code, true, stream);
  }
}

void MagnitudeCompressor::Impl::check_call(const void* dense, std::int64_t stride,
                                           const SparseBuffers& out, const void* workspace) const {
  const auto misaligned = [](const void* p, int bytes) {
    return reinterpret_cast<std::uintptr_t>(p) % static_cast<std::uintptr_t>(bytes) != 0;
  };
  if (stride < grid->cols())
    throw InvalidArgument(fmt::format("rows are {} elements apart, need at least their {} columns",
                                      stride, grid->cols()));
  if (workspace == nullptr || misaligned(workspace, kAlignment))
    throw InvalidArgument(
        "compress needs a workspace of workspace_bytes() bytes that starts on 256 bytes");
  const bool missing = (grid->has_columns() && out.columns == nullptr) ||
                       (grid->has_metadata() && out.metadata == nullptr);
  if (grid->rows() > 0 && grid->cols() > 0 &&
      (dense == nullptr || out.values == nullptr || missing))
    throw InvalidArgument(fmt::format("a weight of {} x {} in {} with a null pointer", grid->rows(),
                                      grid->cols(), grid->pattern().to_string()));
  if (misaligned(dense, dtype_bytes(dtype)) || misaligned(out.values, dtype_bytes(dtype)))
    throw InvalidArgument(fmt::format("weights of {} need to start on {} bytes", dtype_name(dtype),
                                      dtype_bytes(dtype)));
}

MagnitudeCompressor::MagnitudeCompressor(std::shared_ptr<const Grid> grid, Dtype dtype)
    : impl_(std::make_unique<const Impl>(std::move(grid), dtype)) {}
MagnitudeCompressor::MagnitudeCompressor(MagnitudeCompressor&&) noexcept = default;
MagnitudeCompressor& MagnitudeCompressor::operator=(MagnitudeCompressor&&) noexcept = default;
MagnitudeCompressor::~MagnitudeCompressor() = default;

const Grid& MagnitudeCompressor::grid() const { return *impl_->grid; }
Dtype MagnitudeCompressor::dtype() const { return impl_->dtype; }
int MagnitudeCompressor::device() const { return impl_->device; }

std::int64_t MagnitudeCompressor::workspace_bytes() const {
  const WorkspaceSizes& s = impl_->sizes;
  return aligned(s.nan) + aligned(s.choices) + aligned(s.picks) + aligned(s.block_sums) +
         aligned(s.live) + aligned(s.scratch);
}

void MagnitudeCompressor::compress(const void* dense, std::int64_t row_stride,
                                   const SparseBuffers& out, void* workspace,
                                   CUstream_st* stream) const {
  const Impl& impl = *impl_;
  const std::int64_t stride = row_stride == 0 ? impl.grid->cols() : row_stride;
  impl.check_call(dense, stride, out, workspace);
  const DeviceGuard guard(impl.device);
  CompressArguments a = impl.arguments;
  a.dense = dense;
  a.row_stride = stride;
  a.wide = reinterpret_cast<std::uintptr_t>(dense) % 16 == 0 &&
           stride * dtype_bytes(impl.dtype) % 16 == 0;
  a.values = out.values;
  impl.place_workspace(static_cast<std::byte*>(workspace), a);
  check(cudaMemsetAsync(a.nan, 0xff, sizeof(*a.nan), stream),
        "clearing the place of the first NaN");
  if (a.rows == 0 || a.cols == 0) return;
  impl.choose(a, out, stream);
  impl.write(a, out, stream);
}

}  // namespace coppice::cuda
