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
#include "cuda/device_info.h"
#include "cuda/element/element_info.h"
#include "cuda/kernels/mma_shapes.h"
#include "cuda/kernels/wgmma_shapes.h"
#include "cuda/packed_layout.h"
#include "cuda/window/window_layout.h"

namespace coppice::cuda {

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
  bool slots = false;     ///< ... of slots (kernels/spread_layout.h), of feature-major activations
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
  two_four,   ///< expanded to records of 2:4 there, then multiplied like Family::wgmma; V:2:M, too
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

/// A product of Family::two_four as Family::wgmma sees it: of columns, or of slots.
ProductInfo as_two_four(const ProductInfo& product);

/// All tiles of a product of Family::two_four.
std::vector<Selection> two_four_selections(const ProductInfo& product, const DeviceInfo& device);

/// Tiles of Family::window that fit a product and a device: indices of kWindowShapes.
std::vector<int> window_shapes(const ProductInfo& product, const DeviceInfo& device);

/// As many token tiles worked on together as keep their activations in L2.
int token_group(Family family, const ProductInfo& product, int tile_tokens,
                const DeviceInfo& device);

/// Such as "window".
std::string_view rows_name(MmaRows rows);

/// Whether a tile is compiled for a product of one of the wgmma families.
bool has_tile(const WgmmaShape& shape, Family family, const ProductInfo& product);

/// Such as "wgmma 128x256".
std::string selection_name(const Selection& selection);

}  // namespace coppice::cuda
