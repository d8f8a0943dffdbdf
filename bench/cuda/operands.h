// The operands of benchmark cases, kept for the next case that has the same.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "bench/cuda/cusparse.h"
#include "bench/cuda/rotated_activations.h"
#include "bench/cuda/sparse_product.h"

namespace coppice::bench {

class Operands {
 public:
  /// @param grid cases come weight after weight (grid.h): one weight is kept, and the activations
  /// of all numbers of tokens. Else all weights of a shape are, and the last activations.
  /// @param note is told what is missing.
  Operands(bool grid, std::function<void(const std::string&)> note)
      : grid_(grid), note_(std::move(note)) {}

  /// Valid until a case of another weight is asked for.
  RotatedWeight& weight(const BenchCase& c);
  /// The weight of the next case is a new one, whatever it is.
  void forget_weights() { weights_.clear(); }
  /// Valid until other activations are asked for.
  const RotatedActivations& activations(const BenchCase& c);

  /// What cuSPARSE takes for the product of the last weight, if it has a format for it.
  CusparseTime cusparse_time(const BenchCase& c, cudaStream_t stream);

 private:
  bool grid_;
  std::function<void(const std::string&)> note_;
  std::vector<std::unique_ptr<RotatedWeight>> weights_;
  std::vector<std::unique_ptr<RotatedActivations>> activations_;
  std::unique_ptr<CusparseWeight> cusparse_;  // of the last weight
  std::string no_cusparse_;                   // why there is none
};

}  // namespace coppice::bench
