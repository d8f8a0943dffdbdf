// Which kernel for which problem. Pure host code: needs no GPU and no CUDA header.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "coppice/cuda.h"
#include "coppice/linear.h"
#include "coppice/pattern.h"
#include "cuda/blocked/blocked_info.h"
#include "cuda/decode_shape.h"
#include "cuda/element/element_info.h"
#include "cuda/kernels/expand_layout.h"
#include "cuda/packed_layout.h"
#include "cuda/window/window_layout.h"

namespace coppice::cuda {

namespace model {
struct Constants;
}

/// What selection has to know about a device.
struct DeviceInfo {
  int multiprocessors = 0;
  int compute_capability = 0;  ///< 10 * major + minor
  std::int64_t l2_bytes = 0;
  int shared_bytes = 0;    ///< that a thread block can use
  bool has_wgmma = false;  ///< compute capability 9.0, and the kernels were compiled in
  /// Of the performance model (model/constants.h), of static storage; null: those of an H200.
  const model::Constants* constants = nullptr;
  bool dense_library = false;  ///< cuBLASLt is there, for Family::unpack
};

/// Outputs leave a wgmma kernel through shared memory, 64 rows x kStoredTokens at a time.
inline constexpr int kStoredTokens = 32;
inline constexpr int kStoredBytes = kBlockRows * kStoredTokens * 2;

/// Dense weights with lists: columns alive of a piece of the packing, and of a run that the copy
/// engine brings, so many tokens of a token-major matrix at a time.
inline constexpr int kRunCols = 32;
inline constexpr int kRunBoxTokens = 256;

/// Tile of a wgmma kernel: rows() x tile_tokens().
struct WgmmaShape {
  int row_groups = 1;    ///< warpgroups along the rows
  int group_blocks = 1;  ///< blocks of 64 rows of one warpgroup
  int token_groups = 1;  ///< warpgroups along the tokens
  int tokens = 128;      ///< of one warpgroup
  int stages = 4;
  int staging = 2;        ///< buffers of 64 rows x 32 tokens for a warpgroup's outputs
  int thread_blocks = 1;  ///< on one multiprocessor
  int slices = 1;         ///< at most: thread blocks of a cluster that share a tile's columns
  bool in_order = false;  ///< also compiled for weights whose columns are all alive in order
  bool expands = false;   ///< also compiled for weights that are expanded to 2:4 in registers
  int dense_cols = 0;     ///< Family::gather alone: columns alive of a step; 0: all other families

  constexpr bool dense() const { return dense_cols > 0; }
  constexpr int step_cols() const { return dense() ? dense_cols : kStepCols; }
  /// Of a stage: the weight of 64 rows, the activations, the weight.
  constexpr int block_bytes() const { return dense() ? kBlockRows * dense_cols * 2 : kRecordBytes; }
  constexpr int blocks() const { return row_groups * group_blocks; }
  constexpr int rows() const { return 64 * blocks(); }
  constexpr int tile_tokens() const { return tokens * token_groups; }
  constexpr int activation_bytes() const { return tile_tokens() * step_cols() * 2; }
  constexpr int weight_bytes() const { return blocks() * block_bytes(); }
  constexpr int staging_bytes() const { return row_groups * token_groups * staging * kStoredBytes; }
  /// Of a thread block: stages with two barriers and a tile each, a barrier of slices, outputs on
  /// their way, columns, alignment.
  constexpr int shared_bytes() const {
    return 1024 + staging_bytes() + kColumnBytes + 16 +
           stages * (activation_bytes() + weight_bytes() + 16 + 16);
  }

  // Where the weight is expanded, a stage of activations is a part of a step, and records have
  // stages of their own: as many of the former as fit.
  static constexpr int kExpandWeightStages = 3;
  constexpr int expand_part_bytes(bool fives) const {
    return tile_tokens() * expand::parts(fives).slots() * 2;
  }
  constexpr int expand_fixed_bytes() const {
    const int records = blocks() * (kRecordBytes + expand::kBlockMaskBytes);
    return 1024 + staging_bytes() + expand::kTableBytes + 16 +
           kExpandWeightStages * (records + 16 + 16);
  }
  constexpr int expand_stages(int part_bytes) const {
    const int shared = 228 * 1024 / thread_blocks - 1024;
    const int most = (shared - expand_fixed_bytes()) / (part_bytes + 16);
    return most < 8 ? most : 8;
  }
  constexpr int expand_shared_bytes(bool fives) const {
    const int part = expand_part_bytes(fives);
    return expand_fixed_bytes() + expand_stages(part) * (part + 16);
  }

  static constexpr int kColumns = 1024;  ///< that lie in shared memory, of so many steps
  static constexpr int kColumnBytes = kColumns * 2;
  constexpr int column_steps() const { return kColumns / step_cols(); }
};

/// Tokens of which other ways are cheaper than boxes of the copy engine that reach behind the last.
inline constexpr std::int64_t kMostRagged = 512;

/// All wgmma tiles there are.
inline constexpr std::array kWgmmaShapes = {
    WgmmaShape{2, 1, 1, 256, 5, 2, 1, 1},              // vectors of 128 rows
    WgmmaShape{2, 2, 1, 128, 6, 2, 1, 1},              // vectors of 256 rows and more
    WgmmaShape{1, 1, 2, 256, 3, 2, 1, 1},              // vectors of 64 rows
    WgmmaShape{2, 1, 1, 128, 8, 2, 1, 2, true, true},  // the same for fewer tokens or rows ...
    WgmmaShape{1, 1, 1, 128, 4, 2, 2, 1},              //
    WgmmaShape{1, 1, 1, 64, 8, 2, 2, 4, true, true},   //
    WgmmaShape{2, 1, 1, 256, 4, 4, 1, 1, true,
               true},  // 2:4, and vectors of 128 rows of large products
    // Dense weights whose vectors have lists of columns:
    WgmmaShape{.row_groups = 2, .tokens = 256, .stages = 4, .dense_cols = 64},
    WgmmaShape{.token_groups = 2, .tokens = 256, .stages = 5, .staging = 4, .dense_cols = 32},
    WgmmaShape{.row_groups = 2, .group_blocks = 2, .tokens = 128, .stages = 4, .dense_cols = 64},
    WgmmaShape{.row_groups = 2, .tokens = 128, .stages = 6, .slices = 2, .dense_cols = 64},
    WgmmaShape{.tokens = 64, .stages = 6, .thread_blocks = 2, .slices = 4, .dense_cols = 64},
};

/// How the mma kernels bring rows of activations (a row: one column of the weight, all tokens of
/// the tile) to shared memory.
enum class MmaRows : std::uint8_t {
  in_order,  ///< columns are alive in order: all of them
  window,    ///< all columns of a step's groups, shared by the vectors of the tile
  gathered,  ///< the columns alive, for every vector of the tile
};

/// An mma kernel: every warp multiplies a block of 64 rows by 64 tokens.
struct MmaKernel {
  MmaRows rows = MmaRows::gathered;
  int vectors = 1;      ///< in a block of 64 rows: 1, 2 or 4
  int row_warps = 4;    ///< blocks in a tile
  int token_warps = 2;  ///< times 64 tokens in a tile
  int halves = 1;       ///< steps of 32 columns alive in a stage: 1 or 2

  constexpr int threads() const { return 32 * row_warps * token_warps; }
  constexpr int tile_tokens() const { return 64 * token_warps; }
  constexpr int thread_blocks() const { return 8 / (row_warps * token_warps); }
  constexpr int places() const { return 32 * halves; }  ///< columns alive in a stage
  /// Column lists of a tile, if every vector of every block has its own.
  constexpr int lists() const { return row_warps * vectors; }
};

/// All mma kernels there are.
inline constexpr std::array kMmaKernels = {
    MmaKernel{MmaRows::in_order, 1, 4, 2, 2}, MmaKernel{MmaRows::in_order, 1, 2, 1, 2},
    MmaKernel{MmaRows::window, 1, 4, 2, 2},   MmaKernel{MmaRows::window, 1, 2, 1, 1},
    MmaKernel{MmaRows::window, 2, 4, 2, 2},   MmaKernel{MmaRows::window, 2, 2, 1, 1},
    MmaKernel{MmaRows::window, 4, 4, 2, 2},   MmaKernel{MmaRows::window, 4, 2, 1, 1},
    MmaKernel{MmaRows::gathered, 1, 4, 2, 2}, MmaKernel{MmaRows::gathered, 1, 4, 2, 1},
    MmaKernel{MmaRows::gathered, 1, 2, 2, 2}, MmaKernel{MmaRows::gathered, 1, 2, 1, 1},
    MmaKernel{MmaRows::gathered, 2, 2, 1, 1}, MmaKernel{MmaRows::gathered, 4, 2, 1, 1},
    MmaKernel{MmaRows::gathered, 4, 1, 1, 1}, MmaKernel{MmaRows::gathered, 1, 1, 8, 2},
    MmaKernel{MmaRows::gathered, 1, 2, 4, 2},
};

/// How an mma kernel is run.
struct MmaShape {
  int kernel = 0;      ///< index of kMmaKernels
  int stages = 3;      ///< at least 2
  int stage_rows = 0;  ///< rows of activations in a stage, at most
  int resident = 1;    ///< thread blocks that fit on a multiprocessor

  constexpr const MmaKernel& config() const {
    return kMmaKernels[static_cast<std::size_t>(kernel)];
  }
};

/// Heights of row tiles in blocks for which a packed weight holds a table.
inline constexpr std::array kTileBlocks = {1, 2, 4};

/// How a weight lies in device memory.
enum class Packing : std::uint8_t {
  records,   ///< 2:4 and V:2:M, for sparse tensor cores: packed_layout.h
  elements,  ///< element-wise, vector-wise, block-wise: element/element_layout.h
};

/// What selection has to know about a product.
struct ProductInfo {
  Packing packing = Packing::records;
  int vector_blocks = 0;    ///< blocks of 64 rows of a whole vector; 0: vectors share blocks
  std::int64_t blocks = 0;  ///< of 64 rows in all, padding included
  std::int64_t steps = 0;   ///< of 64 columns alive
  // Of Packing::records:
  bool in_order = false;  ///< all columns alive, in order: nothing to gather
  int block_vectors = 1;  ///< vectors in a block of 64 rows: 1, 2 (halves) or 4 (any)
  std::array<int, kTileBlocks.size()> tile_lists = {1, 1, 1};  ///< most vectors in as many blocks
  int group = 4;                                               ///< M of V:N:M
  bool regular = true;  ///< quad q lies in columns q * group to (q + 1) * group - 1
  // Of Packing::elements, whose blocks and steps count where Family::gather can read it:
  int fragment_tokens = 0;  ///< largest tile of Family::fragments; 0: it cannot
  BlockedInfo blocked;      ///< of 32-bit weights
  bool gathers = false;     ///< lists of columns for vectors that Family::gather multiplies
  bool runs = false;        ///< ... in runs that the copy engine brings of token-major ones, too
  WindowInfo window;        ///< of Family::window
  bool two_four = false;    ///< no aligned four columns of a row keep more than two
  ElementInfo element;
  // Of every packing:
  std::int64_t rows = 0, cols = 0;
  std::int64_t tokens = 0;
  bool token_major = false;      ///< activations
  bool aligned = true;           ///< 16-byte aligned rows of activations
  bool batch_invariant = false;  ///< see MultiplyOptions
  F32Products f32_products = F32Products::automatic;

  int element_bytes() const { return element.layout.element_bytes; }
};

enum class Family : std::uint8_t {
  wgmma,   ///< columns alive gathered, or all in order
  expand,  ///< wgmma, the weight expanded to 2:4 in registers, activations as they are
  mma,
  decode,  ///< few tokens, weights straight from memory to registers
  // Of Packing::elements:
  lookup,     ///< CUDA cores, activations looked up in shared memory
  fragments,  ///< tensor cores, the weight expanded to dense fragments in registers
  blocked,    ///< 32-bit weights, many tokens: blocked/blocked_kernel.h
  gather,     ///< dense wgmma on gathered activations, for vectors of 64 rows and more
  quads,      ///< sparse tensor cores, the weight expanded to 2:4 in registers, tens of tokens
  window,     ///< many tokens: vectors of 16 rows and more, rows of activations out of a window
  unpack,     ///< expanded to dense rows in the workspace, then a product of cuBLASLt
  two_four,   ///< expanded to records of 2:4 there, then multiplied like Family::wgmma
};

/// How a product is run.
struct Selection {
  Family family = Family::wgmma;
  int shape = 0;  ///< wgmma, expand, gather, two_four: index of kWgmmaShapes; blocked: of
                  ///< kBlockedShapes; window: of kWindowShapes; unpack: 1 for TF32
  MmaShape mma;
  DecodeShape decode;
  bool token_major = false;  ///< the kernel reads token-major activations itself
  bool transpose = false;    ///< token-major activations are transposed into the workspace first
  bool repack = false;       ///< unaligned feature-major activations are copied there first
  int token_group = 1;       ///< token tiles worked on together
  int tile_tokens = 1;       ///< lookup, fragments: that share one reading of the weights
  int slices = 1;  ///< wgmma, expand, gather, two_four: thread blocks of a cluster for a tile
};

Selection select(const ProductInfo& product, const DeviceInfo& device);

/// Whether it multiplies weights of Packing::elements in tiles of tokens, and these tiles,
/// ascending.
bool is_element_family(Family family);
std::vector<int> element_tiles(Family family, const ProductInfo& product);

/// Whether a family has kernels for a product. Of mma this may still turn out wrong: see mma_shape.
bool can_run(Family family, const ProductInfo& product, const DeviceInfo& device);

/// The best of one family that can run the product.
Selection select_of(Family family, const ProductInfo& product, const DeviceInfo& device);

/// All mma kernels that can run a product on a device, and how.
std::vector<MmaShape> mma_shapes(const ProductInfo& product, const DeviceInfo& device);

/// The best of them; throws DeviceError if the device has too little shared memory.
MmaShape mma_shape(const ProductInfo& product, const DeviceInfo& device);

/// Numbers of slices that a tile's columns can be cut into, ascending from 1: others where all
/// thread blocks run at once and a token's bits may depend on the tokens beside it.
std::vector<int> slice_counts(const WgmmaShape& shape, Family family, const ProductInfo& product,
                              const DeviceInfo& device);

/// A product of Family::two_four as Family::wgmma sees it.
ProductInfo as_two_four(const ProductInfo& product);

/// All tiles of a product of Family::two_four.
std::vector<Selection> two_four_selections(const ProductInfo& product, const DeviceInfo& device);

/// Tiles of Family::window that fit a product and a device: indices of kWindowShapes.
std::vector<int> window_shapes(const ProductInfo& product, const DeviceInfo& device);

/// As many token tiles worked on together as keep their activations in L2.
int token_group(const ProductInfo& product, int tile_tokens, const DeviceInfo& device);

/// Such as "window".
std::string_view rows_name(MmaRows rows);

/// Whether a tile is compiled for a product of one of the wgmma families.
bool has_tile(const WgmmaShape& shape, Family family, const ProductInfo& product);

/// Such as "wgmma 128x256".
std::string selection_name(const Selection& selection);

}  // namespace coppice::cuda
