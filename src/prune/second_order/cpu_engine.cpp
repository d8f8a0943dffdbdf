// The engine that uses LAPACK and threads: pieces of rows, fixed by the shape, in parallel.
#include <algorithm>
#include <numeric>
#include <optional>

#include "coppice/cancel.h"
#include "core/parallel_for.h"
#include "prune/second_order/admm_rows.h"
#include "prune/second_order/engine.h"
#include "prune/second_order/inverse_factor.h"
#include "prune/second_order/obs_sweep.h"
#include "prune/second_order/row_errors.h"

namespace coppice::prune {
namespace {

class CpuEngine final : public LayerEngine {
 public:
  explicit CpuEngine(const UpdateProblem& problem)
      : problem_(problem), parts_(split_vectors(problem.grid)) {}

  Mask magnitude_mask() override {
    const Grid& grid = problem_.grid;
    return coppice::magnitude_mask(dense_view(problem_.weights, grid.rows(), grid.cols()),
                                   grid.pattern(),
                                   {.row_segments = grid.shape().row_segments,
                                    .col_segments = grid.shape().col_segments,
                                    .columns = problem_.columns,
                                    .threads = problem_.threads})
        .mask;
  }

  std::vector<double> squared_outputs(const float* other) override {
    return prune::squared_outputs(problem_.weights.data(), other, problem_.grid.rows(),
                                  problem_.gram, problem_.threads);
  }

  bool invert_damped(double mean, double damping, std::vector<float>& upper) override {
    return prune::invert_damped(problem_.gram, mean, damping, upper);
  }

  std::int64_t sweep(const ObsSweep& sweep, Candidate& candidate) override {
    std::vector<std::int64_t> unproven(parts_.size());
    for_parts([&](std::size_t part) {
      throw_if_cancelled();
      unproven[part] = sweep.run(parts_[part], candidate.weights.data(), candidate.mask);
    });
    return std::accumulate(unproven.begin(), unproven.end(), std::int64_t{0});
  }

  void prepare_refinement(double damping) override { system_.emplace(problem_, damping); }

  void refine(const Candidate& from, int steps, Candidate& to) override {
    for_parts([&](std::size_t part) {
      AdmmRows rows(problem_, *system_, parts_[part]);
      rows.load(from);
      rows.refine(steps);
      rows.store(to);
    });
  }

  bool prepare_search() override { return system_->decompose(); }

  int search(const AdmmOptions& options, Candidate& to) override {
    std::vector<int> iterations(parts_.size());
    for_parts([&](std::size_t part) {
      AdmmRows rows(problem_, *system_, parts_[part]);
      iterations[part] = rows.iterate(options);
      rows.refine(options.refinements);
      rows.store(to);
    });
    return *std::ranges::max_element(iterations);
  }

 private:
  template <typename Body>
  void for_parts(const Body& body) const {
    parallel_for(std::ssize(parts_), problem_.threads,
                 [&](std::int64_t part) { body(static_cast<std::size_t>(part)); });
  }

  const UpdateProblem& problem_;
  std::vector<std::span<const RowVector>> parts_;
  std::optional<ScaledSystem> system_;
};

}  // namespace

std::unique_ptr<LayerEngine> open_cpu_engine(const UpdateProblem& problem) {
  return std::make_unique<CpuEngine>(problem);
}

}  // namespace coppice::prune
