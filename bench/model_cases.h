// Measured products beside what the performance model says of them. Pure host code.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "bench/measured.h"
#include "cuda/model/cost.h"
#include "cuda/model/fit.h"
#include "cuda/select.h"

namespace coppice::bench {

/// A measured kernel configuration.
struct ModelLine {
  const MeasuredProduct* measured = nullptr;
  cuda::Selection selection;
  cuda::model::Cost cost;
  bool is_selected = false;  ///< the configuration that selection chooses
};

/// All of one product.
struct ModelCase {
  cuda::ProductInfo product;
  std::vector<ModelLine> lines;
};

/// What selection has to know of a case, with aligned activations.
cuda::ProductInfo product_of(const MeasuredProduct& measured, const cuda::DeviceInfo& device);

/// Lines of one case together. A line without a configuration is found by its kernel's name.
/// `measured` must outlive the result. @param unknown counts lines whose kernel there is not.
std::vector<ModelCase> model_cases(std::span<const MeasuredProduct> measured,
                                   const cuda::DeviceInfo& device, int* unknown);

/// The dense products among them, once each.
struct DenseCase {
  Dtype dtype = Dtype::f16;
  std::int64_t rows = 0, cols = 0, tokens = 0;
  double seconds = 0;
  double predicted(const cuda::DeviceInfo& device) const;
};
std::vector<DenseCase> dense_cases(std::span<const MeasuredProduct> measured);

/// Such as "wgmma": the family's name, which is that of its constants.
std::string family_name(cuda::Family family);

/// All families of kernels.
std::vector<std::string> fitted_families();

/// Fits the constants of families ("wgmma", "dense", ...) to the lines of these.
void fit_families(cuda::model::Constants& constants, std::span<const std::string> families,
                  std::span<const MeasuredProduct> measured, const cuda::DeviceInfo& device);

}  // namespace coppice::bench
