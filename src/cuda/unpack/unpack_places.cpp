#include "cuda/unpack/unpack_places.h"

#include <algorithm>

#include "core/rounding.h"
#include "cuda/packed_layout.h"

namespace coppice::cuda {
namespace {

constexpr std::int64_t kLeastLibraryBytes = 64 << 10;
constexpr std::int64_t kMostLibraryBytes = std::int64_t{32} << 20;
constexpr std::int64_t kMostSumBytes = std::int64_t{32} << 20;  // more go part by part
constexpr std::int64_t kSumUnit = 8;                            // rows or tokens side by side

}  // namespace

std::int64_t copy_stride(std::int64_t tokens) { return round_up(tokens, 64); }

std::int64_t unpacked_stride(const ProductInfo& p) {
  return round_up(p.cols, 16 / p.element.layout.element_bytes);
}

WorkspacePlaces workspace_places(const Selection& selection, const ProductInfo& p) {
  WorkspacePlaces at;
  const auto take = [&at](std::int64_t bytes) {
    const std::int64_t start = at.bytes;
    at.bytes = round_up(at.bytes + bytes, 256);
    return start;
  };
  const std::int64_t element = p.element_bytes();
  if (selection.transpose || selection.repack) at.bytes = copy_stride(p.tokens) * p.cols * element;
  if (selection.family == Family::two_four) {
    at.bytes = round_up(at.bytes, 256);
    const ProductInfo records = as_two_four(p);
    at.weight = take(records.blocks * records.steps * kRecordBytes);
    at.tiles = take(records.blocks * std::int64_t{sizeof(RowTile)});
  } else if (selection.family == Family::unpack) {
    at.weight = take(p.rows * unpacked_stride(p) * element);
    // Partial sums of up to 16 parts of the columns.
    at.library_bytes =
        std::clamp(round_up(64 * p.rows * p.tokens, 256), kLeastLibraryBytes, kMostLibraryBytes);
    at.library = take(at.library_bytes);
    // One token at least, in fp32.
    const std::int64_t rows = round_up(p.rows, kSumUnit), tokens = round_up(p.tokens, kSumUnit);
    at.sum_bytes = std::clamp(4 * rows * tokens, 4 * rows * kSumUnit,
                              std::max(4 * rows * kSumUnit, kMostSumBytes));
    at.sums = take(at.sum_bytes);
  } else if (selection.family == Family::quads) {
    const QuadForm& form = kQuadForms[static_cast<std::size_t>(p.element.quad_form)];
    take(round_up(p.tokens, selection.tile_tokens) * quad_blocks(form, p.element.layout) * 128);
  }
  return at;
}

}  // namespace coppice::cuda
