#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "coppice/cuda_compress.h"
#include "coppice/error.h"
#include "cuda/check.h"
#include "cuda/compress/plan.h"

namespace coppice::cuda {
namespace {

constexpr std::int64_t kAlignment = ChoicePlan::kAlignment;

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

}  // namespace

struct MagnitudeCompressor::Impl {
  std::shared_ptr<const Grid> grid;
  Dtype dtype = Dtype::f16;
  int device = 0;
  ChoicePlan plan;

  Impl(std::shared_ptr<const Grid> g, Dtype type);
  void choose(const CompressArguments& a, const SparseBuffers& out, cudaStream_t stream) const;
  void write(const CompressArguments& a, const SparseBuffers& out, cudaStream_t stream) const;
  void check_call(const void* dense, std::int64_t stride, const SparseBuffers& out,
                  const void* workspace) const;
};

namespace {

ChoicePlan make_plan(const Grid* grid, Dtype dtype) {
  if (grid == nullptr) throw InvalidArgument("a compressor without a grid");
  if (dtype != Dtype::f16 && dtype != Dtype::bf16 && dtype != Dtype::f32)
    throw InvalidArgument(fmt::format(
        "{} cannot be compressed on the GPU, only F16, BF16 and F32; compress it on the CPU",
        dtype_name(dtype)));
  if (grid->cols() > std::numeric_limits<std::int32_t>::max())
    throw InvalidArgument(
        fmt::format("a weight of {} columns is too wide, at most 2^31 - 1", grid->cols()));
  const Way way = way_of(*grid);
  return {*grid, way, way != Way::two_four && (grid->has_columns() || grid->has_metadata())};
}

}  // namespace

MagnitudeCompressor::Impl::Impl(std::shared_ptr<const Grid> g, Dtype type)
    : grid(std::move(g)), dtype(type), plan(make_plan(grid.get(), type)) {
  check(cudaGetDevice(&device), "asking for the current device");
}

void MagnitudeCompressor::Impl::choose(const CompressArguments& a, const SparseBuffers& out,
                                       cudaStream_t stream) const {
  if (plan.way() == Way::two_four)
    launch_two_four(a, dtype, static_cast<std::uint8_t*>(out.metadata),
                    grid->metadata_bytes_per_row(), stream);
  else
    launch_choices(plan.way(), a, dtype, stream);
}

void MagnitudeCompressor::Impl::write(const CompressArguments& a, const SparseBuffers& out,
                                      cudaStream_t stream) const {
  if (plan.way() == Way::two_four) return;
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

std::int64_t MagnitudeCompressor::workspace_bytes() const { return impl_->plan.workspace_bytes(); }

void MagnitudeCompressor::compress(const void* dense, std::int64_t row_stride,
                                   const SparseBuffers& out, void* workspace,
                                   CUstream_st* stream) const {
  const Impl& impl = *impl_;
  const std::int64_t stride = row_stride == 0 ? impl.grid->cols() : row_stride;
  impl.check_call(dense, stride, out, workspace);
  const DeviceGuard guard(impl.device);
  CompressArguments a = impl.plan.arguments(static_cast<std::byte*>(workspace));
  a.dense = dense;
  a.row_stride = stride;
  a.wide = reinterpret_cast<std::uintptr_t>(dense) % 16 == 0 &&
           stride * dtype_bytes(impl.dtype) % 16 == 0;
  a.values = out.values;
  check(cudaMemsetAsync(a.nan, 0xff, sizeof(*a.nan), stream),
        "clearing the place of the first NaN");
  if (a.rows == 0 || a.cols == 0) return;
  impl.choose(a, out, stream);
  impl.write(a, out, stream);
}

}  // namespace coppice::cuda
