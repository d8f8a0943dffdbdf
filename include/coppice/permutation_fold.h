// Folding permutations into a model: reordering the channels between two layers in every tensor
// that has them, so that the model computes what it did before.
//
//   auto folds = coppice::find_folds(checkpoint);                   // MLP and attention, by block
//   coppice::write_folded(checkpoint, "permuted", {{folds[0], permutation}});
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "coppice/checkpoint.h"
#include "coppice/permutation.h"

namespace coppice {

/// Where a tensor has the channels of a fold: `repeat * size` entries of one axis, from `offset`
/// on. With repeat > 1, each head of the fold is there for `repeat` heads in a row (grouped-query
/// attention).
struct FoldSlice {
  std::string tensor;
  int axis = 0;
  std::int64_t offset = 0;
  std::int64_t repeat = 1;
};

/// Channels between two layers that can be reordered.
struct Fold {
  std::string name;                ///< of the block, such as `model.layers.0.mlp`
  std::string producer;            ///< weight whose rows they are; the first of them
  std::string consumer;            ///< weight whose columns they are
  std::int64_t size = 0;           ///< channels
  std::int64_t head_channels = 0;  ///< permutations stay inside heads of so many; 0: free
  std::vector<FoldSlice> slices;   ///< all that has to move: weights and biases

  /// Lengths of the heads, as PermutationOptions takes segments; empty if free.
  std::vector<std::int64_t> segments() const;
  /// How often the consumer reads each channel: once, or, with shared heads, by so many in a row.
  std::int64_t copies() const;
  /// The columns of the consumer in which a copy of the channels is.
  std::vector<std::size_t> columns(std::int64_t copy) const;
  /// The order that the consumer's columns get by one of the channels: heads that share channels
  /// have the same, each in its own columns. Throws InvalidArgument if it is none of them.
  Permutation column_order(std::span<const std::uint32_t> channels) const;
};

/// The folds that the table of src/format/fold.cpp knows in this model: MLP up (and gate) rows with
/// down columns, and, head by head, v rows with o columns. Model types that are not in the table
/// have none: what lies between two layers is not in a checkpoint. Throws InvalidArgument if the
/// checkpoint is packed, FileError if tensors do not fit each other.
std::vector<Fold> find_folds(const Checkpoint& checkpoint);

/// A fold and the order that its channels get: new[i] = old[permutation[i]].
struct FoldedPermutation {
  Fold fold;
  Permutation permutation;
};

/// Writes a checkpoint of the same tensors with the channels reordered; all else is copied bit for
/// bit. Throws as write_dense, and InvalidArgument if a permutation does not fit its fold, leaves a
/// head, or two folds of the same name are given.
WriteReport write_folded(const Checkpoint& input, const std::filesystem::path& out,
                         std::span<const FoldedPermutation> folds,
                         const WriteOptions& options = {});

}  // namespace coppice
