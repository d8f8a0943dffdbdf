#include "cuda/prune/admm.h"

#include <algorithm>
#include <cmath>

#include "coppice/cancel.h"
#include "cuda/prune/kernels.h"
#include "cuda/prune/transfer.h"
#include "prune/second_order/admm_rows.h"
#include "prune/second_order/inverse_factor.h"

namespace coppice::cuda {
namespace {

void copy(const DeviceBuffer& from, const DeviceBuffer& to) {
  check(cudaMemcpyAsync(to.data(), from.data(), from.bytes(), cudaMemcpyDeviceToDevice, nullptr),
        "copying a matrix");
}

}  // namespace

DeviceAdmm::DeviceAdmm(const prune::UpdateProblem& problem, const Algebra& algebra,
                       const double* gram, const float* weights, double damping)
    : problem_(problem),
      algebra_(algebra),
      gram_(gram),
      damping_(damping),
      rows_(problem.grid.rows()),
      cols_(problem.grid.cols()),
      count_(rows_ * cols_),
      selector_(problem.grid, problem.columns, problem.threads),
      matrix_(device_array<float>(cols_ * cols_)),
      keep_(device_array<std::uint8_t>(count_)),
      norms_(device_array<double>(rows_)) {
  for (DeviceBuffer* matrix : {&start_, &weights_, &target_, &dual_, &product_})
    *matrix = device_array<float>(count_);
  scaled_gram();
  std::vector<double> units = units_of_columns();
  const double largest = problem_.largest > 0 ? problem_.largest : 1;
  for (double& unit : units) unit /= largest;
  units_ = upload(std::span<const double>(units));
  scale_rows(weights, units_.as<double>(), start_.as<float>(), rows_, cols_);
}

std::vector<double> DeviceAdmm::units_of_columns() const {
  const prune::GramView& gram = problem_.gram;
  const double mean = prune::mean_of_diagonal(gram);
  std::vector<double> units;
  for (std::int64_t i = 0; i < cols_; ++i)
    units.push_back(std::sqrt(gram.at(i, i) / mean + prune::damping_of(gram.at(i, i), damping_)));
  return units;
}

// In double precision, and, as the system, in single precision.
DeviceBuffer DeviceAdmm::scaled_gram() {
  const std::vector<double> units = units_of_columns();
  const DeviceBuffer unscaled = upload(std::span<const double>(units));
  auto h = device_array<double>(cols_ * cols_);
  scale_gram(gram_, unscaled.as<double>(), prune::mean_of_diagonal(problem_.gram), damping_,
             h.as<double>(), matrix_.as<float>(), cols_);
  return h;
}

bool DeviceAdmm::decompose() {
  vectors_ = device_array<float>(cols_ * cols_);
  turned_ = device_array<float>(count_);
  last_ = device_array<std::uint8_t>(count_);
  penalty_ = device_array<float>(rows_);
  counts_ = device_array<std::uint32_t>(2 * rows_);
  const DeviceBuffer h = scaled_gram();
  const auto values = device_array<double>(cols_);
  if (!algebra_.eigenvectors(h.as<double>(), cols_, values.as<double>())) return false;
  to_float(h.as<double>(), vectors_.as<float>(), cols_ * cols_);
  std::vector<float> eigenvalues;
  for (double value : download(values.as<double>(), cols_))
    eigenvalues.push_back(static_cast<float>(std::max(value, 0.0)));
  eigenvalues_ = upload(std::span<const float>(eigenvalues));
  return true;
}

// W = (W0 H + rho D - V)(H + rho)^-1, D = projection of W + V / rho, V += rho (W - D).
void DeviceAdmm::step() {
  const AdmmArguments a{.target = target_.as<float>(),
                        .penalty = penalty_.as<float>(),
                        .eigenvalues = eigenvalues_.as<float>(),
                        .weights = weights_.as<float>(),
                        .dual = dual_.as<float>(),
                        .product = product_.as<float>(),
                        .turned = turned_.as<float>(),
                        .keep = keep_.as<std::uint8_t>(),
                        .rows = rows_,
                        .cols = cols_};
  const Panel<const float> vectors{vectors_.as<float>(), cols_, cols_, cols_};
  admm_right_side(a);
  algebra_.multiply_transposed(in(product_), vectors, out(turned_));
  admm_divide(a);
  algebra_.multiply(1.0f, in(turned_), vectors, 0.0f, out(product_));
  admm_unproject(a);
  selector_.choose(turned_.as<float>(), penalty_.as<float>(), keep_.as<std::uint8_t>());
  admm_settle(a);
}

std::vector<DeviceAdmm::Part> DeviceAdmm::make_parts(const AdmmOptions& options) const {
  std::vector<Part> parts;
  for (const auto& vectors : prune::split_vectors(problem_.grid)) {
    const std::int64_t first = vectors.front().row;
    parts.push_back({.first = first,
                     .rows = vectors.back().row + vectors.back().rows - first,
                     .penalty = options.penalty});
  }
  return parts;
}

void DeviceAdmm::upload_penalties(const std::vector<Part>& parts) {
  std::vector<float> rows(static_cast<std::size_t>(rows_));
  for (const Part& part : parts)
    std::fill_n(rows.begin() + part.first, part.rows, static_cast<float>(part.penalty));
  check(cudaMemcpy(penalty_.data(), rows.data(), penalty_.bytes(), cudaMemcpyHostToDevice),
        "copying penalties to the device");
}

// By how much of a part's support moved; where nothing did, the part has ended. @returns whether
// some part has not
bool DeviceAdmm::grow_penalties(std::vector<Part>& parts, int iteration, bool first) {
  count_moves(keep_.as<std::uint8_t>(), last_.as<std::uint8_t>(), counts_.as<std::uint32_t>(),
              rows_, cols_);
  const std::vector<std::uint32_t> counts = download(counts_.as<std::uint32_t>(), 2 * rows_);
  bool going = false;
  for (Part& part : parts) {
    if (!(part.penalty > 0)) continue;
    part.iterations = iteration;
    std::int64_t kept = 0, moved = 0;
    for (std::int64_t r = part.first; r < part.first + part.rows; ++r) {
      kept += counts[static_cast<std::size_t>(2 * r)];
      moved += counts[static_cast<std::size_t>(2 * r + 1)];
    }
    if (first) moved = part.rows * cols_;
    part.penalty *= moved == 0 ? 0 : prune::penalty_growth(moved, kept);
    going = going || part.penalty > 0;
  }
  upload_penalties(parts);
  copy(keep_, last_);
  return going;
}

void DeviceAdmm::iterate(const AdmmOptions& options, std::vector<Part>& parts) {
  algebra_.multiply(1.0f, in(start_), system(), 0.0f, out(target_));
  copy(start_, weights_);
  check(cudaMemsetAsync(dual_.data(), 0, dual_.bytes(), nullptr), "clearing a matrix");
  check(cudaMemsetAsync(keep_.data(), 1, keep_.bytes(), nullptr), "clearing a support");
  upload_penalties(parts);
  for (int i = 1; i <= options.iterations; ++i) {
    step();
    if (i % prune::kPenaltyPeriod != 0) continue;
    throw_if_cancelled();
    if (!grow_penalties(parts, i, i == prune::kPenaltyPeriod)) return;
  }
  for (Part& part : parts)
    if (part.penalty > 0) part.iterations = options.iterations;
}

// Conjugate gradients from `weights_` on the support `keep_`.
void DeviceAdmm::improve(int steps) {
  const DeviceBuffer &residual = target_, &direction = dual_;
  const auto* keep = keep_.as<std::uint8_t>();
  subtract(start_.as<float>(), weights_.as<float>(), product_.as<float>(), count_);
  algebra_.multiply(1.0f, in(product_), system(), 0.0f, out(residual));
  clear_rest(residual.as<float>(), keep, count_);
  copy(residual, direction);
  dot_rows(residual.as<float>(), residual.as<float>(), norms_.as<double>(), rows_, cols_);
  for (int i = 0; i < steps; ++i) {
    algebra_.multiply(1.0f, in(direction), system(), 0.0f, out(product_));
    clear_rest(product_.as<float>(), keep, count_);
    advance_rows({.weights = weights_.as<float>(),
                  .residual = residual.as<float>(),
                  .direction = direction.as<float>(),
                  .product = product_.as<float>(),
                  .norms = norms_.as<double>(),
                  .rows = rows_,
                  .cols = cols_});
  }
}

void DeviceAdmm::store(prune::Candidate& to) {
  unscale_rows(weights_.as<float>(), units_.as<double>(), product_.as<float>(), rows_, cols_);
  download(product_.as<float>(), count_, to.weights.data());
  const auto words = device_array<std::uint64_t>(rows_ * ((cols_ + 63) / 64));
  pack_mask(keep_.as<std::uint8_t>(), words.as<std::uint64_t>(), rows_, cols_);
  download_mask(words.as<std::uint64_t>(), to.mask);
}

void DeviceAdmm::refine(const prune::Candidate& from, int steps, prune::Candidate& to) {
  check(cudaMemcpy(product_.data(), from.weights.data(), product_.bytes(), cudaMemcpyHostToDevice),
        "copying weights to the device");
  scale_rows(product_.as<float>(), units_.as<double>(), weights_.as<float>(), rows_, cols_);
  const DeviceBuffer words = upload_mask(from.mask);
  unpack_mask(words.as<std::uint64_t>(), nullptr, keep_.as<std::uint8_t>(), rows_, cols_, cols_);
  improve(steps);
  store(to);
}

int DeviceAdmm::search(const AdmmOptions& options, prune::Candidate& to) {
  std::vector<Part> parts = make_parts(options);
  iterate(options, parts);
  improve(options.refinements);
  store(to);
  return std::ranges::max_element(parts, {}, &Part::iterations)->iterations;
}

}  // namespace coppice::cuda
