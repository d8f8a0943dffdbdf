// ADMM and the refinement of supports in device memory: AdmmRows and ScaledSystem of
// prune/second_order for all rows at once. Not part of the public API.
#pragma once

#include <span>
#include <vector>

#include "cuda/prune/algebra.h"
#include "cuda/prune/selector.h"
#include "prune/second_order/candidate.h"

namespace coppice::cuda {

class DeviceAdmm {
 public:
  /// @param gram    [cols, cols], whole; @param weights [rows, cols]: those of the problem. Device
  /// memory. The arguments must outlive it.
  DeviceAdmm(const prune::UpdateProblem& problem, const Algebra& algebra, const double* gram,
             const float* weights, double damping);

  /// Eigenvectors of the scaled system, for `search`. @returns false if they cannot be found
  bool decompose();

  /// As LayerEngine's.
  void refine(const prune::Candidate& from, int steps, prune::Candidate& to);
  int search(const AdmmOptions& options, prune::Candidate& to);

 private:
  /// Rows that share a penalty: those of a part (prune::split_vectors).
  struct Part {
    std::int64_t first = 0, rows = 0;
    double penalty = 0;  // 0: ended
    int iterations = 0;
  };
  std::vector<double> units_of_columns() const;
  DeviceBuffer scaled_gram();
  std::vector<Part> make_parts(const AdmmOptions& options) const;
  void upload_penalties(const std::vector<Part>& parts);
  bool grow_penalties(std::vector<Part>& parts, int iteration, bool first);
  void iterate(const AdmmOptions& options, std::vector<Part>& parts);
  void step();
  void improve(int steps);
  void store(prune::Candidate& to);
  Panel<const float> system() const { return {matrix_.as<float>(), cols_, cols_, cols_}; }
  Panel<const float> in(const DeviceBuffer& m) const {
    return {m.as<float>(), rows_, cols_, cols_};
  }
  Panel<float> out(const DeviceBuffer& m) const { return {m.as<float>(), rows_, cols_, cols_}; }

  const prune::UpdateProblem& problem_;
  const Algebra& algebra_;
  const double* gram_;
  double damping_;
  std::int64_t rows_, cols_, count_;
  Selector selector_;
  DeviceBuffer units_, matrix_, vectors_, eigenvalues_;  // of the system
  DeviceBuffer start_, weights_;                         // W0, D
  DeviceBuffer target_, dual_, product_, turned_;        // refinement: residual, direction, product
  DeviceBuffer keep_, last_, penalty_, counts_, norms_;
};

}  // namespace coppice::cuda
