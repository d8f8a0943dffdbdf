// The inner loops of the products in bf16, for processors with AVX-512 BF16 and VBMI2. Not part of
// the public API; bf16 numbers are given as their bits.
//
// The instruction adds the products of two pairs of bf16 numbers to a sum of fp32, in 16 lanes.
// What is a pair: two kept weights of a row for Y (bf16_lookup.h), neighbouring rows of the weight
// for dX, neighbouring tokens for dW.
//
// A sliver is 64 columns of some pairs of rows, [pairs][64][2], zeros where nothing is kept.
// Memory of panels, slivers and sums is aligned to 64 bytes.
#pragma once

#include <cstdint>

namespace coppice::cpu {

inline constexpr int kSliverCols = 64;
inline constexpr int kTileRows = 6;      ///< of the left side, at most: 24 sums stay in registers
inline constexpr int kListedPairs = 48;  ///< at most: a sliver and a panel of them fit in L1
inline constexpr int kListedTokens = 128;
inline constexpr int kDotTokens = 256;

/// Some tokens or rows by a sliver, multiplied whole: for few tokens.
struct Bf16Tile {
  const std::uint16_t* left = nullptr;  ///< pair p of row r lies at r * row_step + p * pair_step
  std::int64_t row_step = 0, pair_step = 0;  ///< in bf16 numbers
  int rows = 0;                              ///< 1 to kTileRows
  const std::uint16_t* sliver = nullptr;
  std::int64_t pairs = 0;
  float* sums = nullptr;  ///< [rows][64]
  bool first = false;     ///< sums start at 0
};

/// The columns of a sliver by a panel of tokens: only pairs that keep something are multiplied.
struct ListedTile {
  const std::uint64_t* pairs_kept =
      nullptr;   ///< [64]: bit p of a column says whether pair p counts
  int cols = 0;  ///< up to 64
  const std::uint16_t* sliver = nullptr;
  const std::uint16_t* panel = nullptr;  ///< [pairs][tokens][2]
  int tokens = 0;                        ///< a multiple of 16, at most kListedTokens
  float* sums = nullptr;                 ///< [64][tokens]
  bool first = false;                    ///< sums start at 0
};

/// Rows of a sliver's stored weights.
struct KeptRows {
  const std::uint16_t* values = nullptr;  ///< the first of the first row, wherever in it
  const std::uint16_t* end = nullptr;     ///< of all values: nothing is read from there on
  std::int64_t stride = 0;                ///< from row to row
  const std::uint64_t* bits = nullptr;    ///< [rows]: which columns are kept
  const std::uint32_t* firsts = nullptr;  ///< [rows], where in its row's values a row of the sliver
                                          ///< begins; null: at `first` in all
  std::uint32_t first = 0;
  std::int64_t rows = 0;
  bool sparse = false;  ///< at most 16 of 32 columns are kept
};

/// Dot products over tokens, of rows of dY and those columns of x that a row keeps.
struct DotRows {
  const std::uint64_t* bits = nullptr;  ///< [rows]: which columns are kept
  std::int64_t rows = 0;
  const std::uint16_t* dy = nullptr;  ///< [rows][tokens]
  const std::uint16_t* x = nullptr;   ///< [64][tokens], and one column more that can be read
  int tokens = 0;                     ///< a multiple of 32, at most kDotTokens
  float* sums = nullptr;              ///< [rows][64], those kept side by side
  bool first = false;                 ///< sums start at 0
};

/// A matrix of bf16 numbers.
struct Bf16Block {
  const std::uint16_t* data = nullptr;
  std::int64_t rows = 0, cols = 0, stride = 0;
};

struct JoinTask;
struct LookupTile;

struct Bf16Kernels {
  /// Stored weights of a panel to pairs, and panels of pairs by some tokens (bf16_lookup_tiles.h).
  void (*join)(const JoinTask& task);
  void (*multiply_looked_up)(const LookupTile& tile);
  void (*multiply)(const Bf16Tile& tile);
  /// Rounds the sums of a tile, which are in none of its memory: those kept, to where `rows` (those
  /// of the tile) has its values in `out`.
  void (*multiply_kept)(const Bf16Tile& tile, const KeptRows& rows, std::uint16_t* out);
  void (*multiply_listed)(const ListedTile& tile);
  void (*dot)(const DotRows& rows);
  /// Stored weights to a sliver, [(rows + 1) / 2][64][2].
  void (*expand)(const KeptRows& rows, std::uint16_t* sliver);
  /// Two rows side by side: out[2 i] = even[i], out[2 i + 1] = odd[i]; odd may be null: zeros.
  void (*pair)(const std::uint16_t* even, const std::uint16_t* odd, std::int64_t count,
               std::uint16_t* out);
  /// Pairs of columns become rows: out[pair][row][2], pairs `out_stride` apart. Of rows up to the
  /// next multiple of 16 zeros are written, of an odd last column too.
  void (*transpose_pairs)(const Bf16Block& from, std::uint16_t* out, std::int64_t out_stride);
  /// out[col][row], columns `out_stride` apart. Of rows up to the next multiple of 32 zeros are
  /// written.
  void (*transpose)(const Bf16Block& from, std::uint16_t* out, std::int64_t out_stride);
  /// Sums [rows][>= cols], `sums_stride` apart, to bf16 rows that are `stride` apart.
  void (*round)(const float* sums, std::int64_t sums_stride, std::int64_t rows, std::int64_t cols,
                std::uint16_t* out, std::int64_t stride);
  /// Sums [cols][>= rows] to bf16, transposed: out[row][col].
  void (*round_transposed)(const float* sums, std::int64_t sums_stride, std::int64_t rows,
                           std::int64_t cols, std::uint16_t* out, std::int64_t stride);
  /// sums [rows.rows][64], those kept side by side, to bf16, to where `rows` has its values.
  void (*round_dots)(const float* sums, const KeptRows& rows, std::uint16_t* out);
};

/// Null if this processor has not the instructions, or COPPICE_CPU_TARGET forbids them.
const Bf16Kernels* bf16_kernels();

/// Whether this processor multiplies bf16 by tiles, too (AMX).
bool has_bf16_tiles();

}  // namespace coppice::cpu
