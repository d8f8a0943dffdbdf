// Packing: rows of the canonical arrays to records of 64 rows x 64 columns alive, and choices of
// columns to column lists. Both move bytes: the floor is one read of the canonical arrays and one
// write of the packed ones.
//
// A warp makes a unit of a record, 16 rows: lane 4g + part of it 8 values (4 quads, one row of a
// core matrix, 16 bytes) of rows g and g + 8, and one word of metadata, which holds just these
// quads. So a warp reads 64 bytes of 16 rows each, and writes two runs of 512 bytes and one of 128.
// Where rows do not start on 16 bytes, or groups are short or restart at a segment, a quad is read
// value by value. H200: docs/performance/compress.md.
#include "cuda/check.h"
#include "cuda/kernels/pack.h"

namespace coppice::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kLaneQuads = 4;  // quads of a row that a lane packs
constexpr std::uint32_t kPaddingPair = pair_bits(0, 1);

__device__ inline QuadPlace quad_place(const PackArguments& p, int quad) {
  if (p.quads == nullptr) {
    const int col = quad * p.group;
    return {col, min(p.group, p.cols - col), 2 * quad, 4 * quad};
  }
  const int4 raw = __ldg(reinterpret_cast<const int4*>(p.quads + quad));
  return {raw.x, raw.y, raw.z, raw.w};
}

/// What a lane stores for one row.
struct CoreRow {
  std::uint32_t values[kLaneQuads] = {};  // two of 16 bits a quad
  std::uint32_t metadata = 0;             // 4 bits a quad
};

/// A quad of less than two weights has its padding at a column of its own: the last, or the one
/// before it.
__device__ inline void set_quad(CoreRow& row, int i, int kept, std::uint32_t first,
                                std::uint32_t second, std::uint32_t choice) {
  std::uint32_t pair = kPaddingPair;
  if (kept == 2) {
    row.values[i] = first | second << 16;
    pair = choice;
  } else if (kept == 1) {
    const bool last = choice == 3;
    row.values[i] = last ? first << 16 : first;
    pair = pair_bits(last ? 2 : static_cast<int>(choice), 3);
  }
  row.metadata |= pair << (4 * i);
}

/// Quads [quad, quad + 4) of a row, one by one.
__device__ inline CoreRow read_quads(const PackArguments& p, std::int64_t row, int quad) {
  const auto* values = static_cast<const std::uint16_t*>(p.values) + row * p.kept;
  const std::uint8_t* metadata = p.metadata + row * p.metadata_bytes;
  CoreRow out;
#pragma unroll
  for (int i = 0; i < kLaneQuads; ++i) {
    int kept = 0;
    std::uint32_t first = 0, second = 0, choice = 0;
    if (quad + i < p.quad_count) {
      const QuadPlace place = quad_place(p, quad + i);
      kept = min(2, place.cols);
      if (kept > 0) first = __ldg(values + place.value);
      if (kept > 1) second = __ldg(values + place.value + 1);
      const int bit = 2 * place.value, end = bit + 2 * kept;  // 2 bits a weight
      if (kept > 0) choice = __ldg(metadata + bit / 8) >> bit % 8;
      if (bit / 8 != (end - 1) / 8) choice |= __ldg(metadata + bit / 8 + 1) << (8 - bit % 8);
      choice &= (1u << 2 * kept) - 1;
    }
    set_quad(out, i, kept, first, second, choice);
  }
  return out;
}

/// The same where all four are whole and lie at their regular places.
__device__ inline CoreRow read_wide(const PackArguments& p, std::int64_t row, int quad) {
  const auto* values = static_cast<const std::uint16_t*>(p.values) + row * p.kept + 2 * quad;
  const uint4 raw = __ldg(reinterpret_cast<const uint4*>(values));
  return {{raw.x, raw.y, raw.z, raw.w},
          __ldg(reinterpret_cast<const std::uint16_t*>(p.metadata + row * p.metadata_bytes) +
                quad / 4)};
}

__global__ void __launch_bounds__(kThreads) pack_records_kernel(const PackArguments p) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32 % kBlockUnits;
  const std::uint32_t record =
      blockIdx.x * (kThreads / 32 / kBlockUnits) + threadIdx.x / 32 / kBlockUnits;
  if (record >= p.blocks * p.steps) return;
  const auto steps = static_cast<std::uint32_t>(p.steps);
  const std::uint32_t block = record / steps, step = record - block * steps;
  const int4 raw = __ldg(reinterpret_cast<const int4*>(p.units + block * kBlockUnits + warp));
  const RowUnit unit{raw.x, raw.y, raw.z, raw.w};
  const int g = lane / 4, part = lane % 4;
  const int quad = static_cast<int>(step) * kStepQuads + part * kLaneQuads;
  const bool wide = p.wide && (quad + kLaneQuads) * p.group <= p.cols;
  CoreRow half[2];
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    if (g + 8 * h >= unit.rows)
      half[h].metadata = 0x1111 * kPaddingPair;
    else if (wide)
      half[h] = read_wide(p, unit.row + g + 8 * h, quad);
    else
      half[h] = read_quads(p, unit.row + g + 8 * h, quad);
  }
  std::byte* out = p.records + std::int64_t{record} * kRecordBytes;
#pragma unroll
  for (int h = 0; h < 2; ++h)
    *reinterpret_cast<uint4*>(out + value_byte(warp * kUnitRows + 8 * h + g, 8 * part)) =
        make_uint4(half[h].values[0], half[h].values[1], half[h].values[2], half[h].values[3]);
  const MetadataPlace at = metadata_place(warp * kUnitRows + g, part * kLaneQuads);
  *reinterpret_cast<std::uint32_t*>(out + kValueBytes + at.word * 4) =
      half[0].metadata | half[1].metadata << 16;
}

/// Up to 32 bits of a stream of bytes; none behind bit `first + count` is read.
__device__ inline std::uint32_t read_bits(const std::uint8_t* bytes, std::int64_t first,
                                          int count) {
  std::uint64_t bits = 0;
  const std::int64_t last = (first + count - 1) / 8;
  for (std::int64_t b = first / 8; b <= last; ++b)
    bits |= static_cast<std::uint64_t>(__ldg(bytes + b)) << (8 * (b - first / 8));
  return static_cast<std::uint32_t>(bits >> first % 8 & ((std::uint64_t{1} << count) - 1));
}

/// The offsets in its group of the columns alive of a quad; the last again where there are less.
__device__ inline void read_offsets(const PackArguments& p, const std::uint8_t* choice,
                                    const QuadPlace& place, std::uint32_t (&offset)[4]) {
  const int alive = min(4, place.cols);
  std::uint32_t bits = 0;
  const bool mask = p.column_code.bitmask;
  if (p.has_columns)
    bits = mask ? read_bits(choice, place.col, place.cols)
                : read_bits(choice, std::int64_t{place.live} * p.column_code.bits,
                            alive * p.column_code.bits);
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    if (i >= alive) {
      offset[i] = offset[i - 1];
    } else if (!p.has_columns) {
      offset[i] = i;
    } else if (mask) {
      offset[i] = lowest_bit(bits);
      bits &= bits - 1;
    } else {
      offset[i] = bits >> (i * p.column_code.bits) & ((1u << p.column_code.bits) - 1);
    }
  }
}

/// The bytes of a quad in a list, as ColumnLists describes them.
__device__ inline std::uint64_t list_quad(const PackArguments& p, const QuadPlace& place,
                                          const std::uint32_t (&offset)[4]) {
  std::uint64_t bits = 0;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    if (p.quad_bytes == kColumnQuadBytes) {
      const std::uint32_t col = place.col + offset[i];
      bits |= std::uint64_t{p.permutation == nullptr ? col : __ldg(p.permutation + col)} << 16 * i;
    } else if (p.quad_bytes == 1) {
      bits |= std::uint64_t{1} << offset[i];
    } else {
      bits |= std::uint64_t{offset[i]} << (2 * p.quad_bytes * i);
    }
  }
  return bits;
}

__global__ void __launch_bounds__(kThreads) pack_lists_kernel(const PackArguments p) {
  const std::int64_t quads = p.steps * kStepQuads;
  const std::int64_t i = std::int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i >= p.list_count * quads) return;
  const std::int64_t list = i / quads;
  const int quad = static_cast<int>(i - list * quads);
  std::uint64_t bits = kPaddingQuad;
  if (quad < p.quad_count || p.quad_bytes == kColumnQuadBytes) {
    const QuadPlace place = quad_place(p, min(quad, p.quad_count - 1));
    std::uint32_t offset[4];
    read_offsets(p, p.columns + list * p.column_bytes, place, offset);
    bits = list_quad(p, place, offset);
  }
  std::byte* out = p.lists + i * p.quad_bytes;
  if (p.quad_bytes == kColumnQuadBytes) {
    *reinterpret_cast<std::uint64_t*>(out) = bits;
  } else {
    for (int b = 0; b < p.quad_bytes; ++b) out[b] = static_cast<std::byte>(bits >> (8 * b) & 0xFF);
  }
}

// Decode kernels ask for weights before they wait for the kernel before them (decode_kernel.h).
// That kernel must not be the one that writes the weights: this one lies between, which begins when
// they are written.
__global__ void pack_end_kernel() {}

unsigned thread_blocks(std::int64_t items, int of_one) {
  return static_cast<unsigned>((items + of_one - 1) / of_one);
}

}  // namespace

void launch_pack(const PackArguments& p, cudaStream_t stream) {
  const std::int64_t records = p.blocks * p.steps;
  if (records > 0) {
    pack_records_kernel<<<thread_blocks(records, kThreads / 32 / kBlockUnits), kThreads, 0,
                          stream>>>(p);
    check(cudaGetLastError(), "launching the packing of a weight");
  }
  const std::int64_t quads = p.list_count * p.steps * kStepQuads;
  if (quads > 0) {
    pack_lists_kernel<<<thread_blocks(quads, kThreads), kThreads, 0, stream>>>(p);
    check(cudaGetLastError(), "launching the packing of column lists");
  }
  pack_end_kernel<<<1, 1, 0, stream>>>();
  check(cudaGetLastError(), "launching the end of the packing of a weight");
}

}  // namespace coppice::cuda
