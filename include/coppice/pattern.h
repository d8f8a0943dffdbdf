// Pattern: the one description of every N:M sparsity that Coppice knows.
//
//   coppice::Pattern p = coppice::Pattern::parse("64:2:8");
//   p.density();                                   // 0.25
//   p.to_string();                                 // "64:2:8"
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace coppice {

/// What a pattern is called in the literature; derived from the numbers, never stored.
enum class PatternKind : std::uint8_t {
  dense,    ///< nothing is pruned
  element,  ///< element-wise N:M: `2:4`, `3:32`
  vector,   ///< vector-wise N:M (nmSPARSE, NM-SpMM): `vw32/8:32`
  block,    ///< block-wise N:M (nmSPARSE): `bw4x4/8:32`
  vnm,      ///< V:N:M (VENOM): `64:2:8`, or `64:3/6:8` with the kept columns spelled out
};

/// A value type of five small numbers. The outer level keeps `kept` of every `group` consecutive
/// column blocks of `block_cols` columns, one choice for `vec_rows` consecutive rows. The optional
/// inner level keeps `inner_kept` of the `kept` columns of each group, row by row.
///
/// "N:M" always means N kept of M. Limits: group <= 256, vec_rows <= 1024, block_cols <= 1024.
/// Patterns compare equal if they describe the same thing: `parse` and `make` normalise
/// (`64:2:4` is `2:4`, `vw1/2:4` is `2:4`, `bw32x1/8:32` is `vw32/8:32`, `4:4` is `dense`).
struct Pattern {
  int vec_rows = 1;
  int block_cols = 1;
  int kept = 1;        ///< blocks kept of a group by the outer level
  int group = 1;       ///< blocks in a group
  int inner_kept = 0;  ///< columns kept of the group's `kept`, row by row; 0: no inner level

  /// Parses `dense`, `N:M`, `vwL/N:M`, `bwRxC/N:M`, `V:N:M` (4 columns kept) and `V:N/C:M`.
  /// Throws InvalidArgument, with the grammar, on anything else.
  static Pattern parse(std::string_view text);

  /// Checks the limits and normalises. Throws InvalidArgument.
  static Pattern make(int vec_rows, int block_cols, int kept, int group, int inner_kept = 0);

  /// From the object written by `to_json`. Throws InvalidArgument.
  static Pattern from_json(std::string_view json);

  PatternKind kind() const;
  bool is_dense() const { return kept == group; }
  bool has_inner() const { return inner_kept != 0; }
  /// Element-wise 2:4, whose choice is stored as `metadata` and which sparse tensor cores take as
  /// it is.
  bool is_two_four() const { return *this == Pattern{1, 1, 2, 4, 0}; }
  /// 2 of 4, alone or inside chosen columns: what Sparse Tensor Cores can multiply by.
  bool fits_sparse_tensor_cores() const;

  /// Kept weights over all weights, away from short groups.
  double density() const;
  double sparsity() const { return 1.0 - density(); }

  /// The canonical spelling; `parse(to_string())` gives the same pattern.
  std::string to_string() const;
  /// One JSON object: the spelling and the five numbers.
  std::string to_json() const;
  /// One sentence in plain words.
  std::string describe() const;

  friend bool operator==(const Pattern&, const Pattern&) = default;
};

/// The pattern grammar, as shown to users beside an error.
std::string_view pattern_grammar();

}  // namespace coppice
