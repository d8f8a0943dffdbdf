#include "bench/model_cases.h"

#include <algorithm>
#include <map>

#include "cuda/candidates.h"
#include "cuda/describe.h"
#include "cuda/model/model.h"

namespace coppice::bench {
namespace {

// Token groups are not told apart.
const cuda::Selection* find_selection(const MeasuredProduct& m,
                                      const std::vector<cuda::Selection>& all) {
  const std::string tile = m.configuration.substr(0, m.configuration.rfind(" group "));
  const auto found = std::ranges::find_if(all, [&](const cuda::Selection& s) {
    return m.configuration.empty() ? cuda::selection_name(s) == m.kernel
                                   : cuda::tile_name(s) == tile;
  });
  return found == all.end() ? nullptr : &*found;
}

}  // namespace

cuda::ProductInfo product_of(const MeasuredProduct& m, const cuda::DeviceInfo& device) {
  WeightShape shape;
  shape.rows = m.rows;
  shape.cols = m.cols;
  cuda::ProductInfo product = cuda::describe(Grid(m.pattern, shape), m.dtype, false, device);
  product.tokens = m.tokens;
  product.token_major = m.layout == Layout::token_major;
  // As the benchmark has them: without padding.
  const std::int64_t stride = product.token_major ? m.cols : m.tokens;
  product.aligned = stride % 8 == 0;
  return product;
}

std::vector<ModelCase> model_cases(std::span<const MeasuredProduct> measured,
                                   const cuda::DeviceInfo& device, int* unknown) {
  std::vector<ModelCase> cases;
  std::vector<std::vector<cuda::Selection>> candidates;
  for (const MeasuredProduct& m : measured) {
    if (m.pattern.is_dense()) continue;
    auto found = std::ranges::find_if(
        cases, [&](const ModelCase& c) { return c.lines[0].measured->same_case(m); });
    const bool is_new = found == cases.end();
    const cuda::ProductInfo product = is_new ? product_of(m, device) : found->product;
    const std::vector<cuda::Selection> all =
        is_new ? cuda::candidates(product, device)
               : candidates[static_cast<std::size_t>(found - cases.begin())];
    const cuda::Selection* selection = find_selection(m, all);
    if (selection == nullptr) {
      ++*unknown;
      continue;
    }
    const ModelLine line{&m, *selection, cuda::model::predict(*selection, product, device),
                         cuda::tile_name(*selection) == cuda::tile_name(all[0])};
    if (is_new) {
      cases.push_back({product, {line}});
      candidates.push_back(all);
    } else {
      found->lines.push_back(line);
    }
  }
  return cases;
}

double DenseCase::predicted(const cuda::DeviceInfo& device) const {
  return cuda::model::dense_cost(dtype, rows, cols, tokens, device).seconds;
}

std::vector<DenseCase> dense_cases(std::span<const MeasuredProduct> measured) {
  std::vector<DenseCase> cases;
  const auto add = [&](const MeasuredProduct& m, Dtype dtype, double seconds) {
    if (seconds <= 0) return;
    const auto known = std::ranges::find_if(cases, [&](const DenseCase& c) {
      return c.dtype == dtype && c.rows == m.rows && c.cols == m.cols && c.tokens == m.tokens;
    });
    if (known == cases.end()) cases.push_back({dtype, m.rows, m.cols, m.tokens, seconds});
  };
  for (const MeasuredProduct& m : measured) {
    add(m, m.dtype, m.dense_seconds);
    add(m, Dtype::f8_e4m3, m.fp8_seconds);
  }
  return cases;
}

std::string family_name(cuda::Family family) {
  switch (family) {
    case cuda::Family::wgmma:
      return "wgmma";
    case cuda::Family::expand:
      return "expand";
    case cuda::Family::mma:
      return "mma";
    case cuda::Family::decode:
      return "decode";
    case cuda::Family::lookup:
      return "lookup";
    case cuda::Family::fragments:
      return "fragments";
    case cuda::Family::quads:
      return "quads";
    case cuda::Family::blocked:
      return "blocked";
    case cuda::Family::gather:
      return "gather";
    case cuda::Family::window:
      return "window";
    case cuda::Family::unpack:
      return "unpack";
    case cuda::Family::two_four:
      return "two_four";
  }
  return "";
}

std::vector<std::string> fitted_families() {
  return {"wgmma", "expand",  "mma",    "decode", "lookup", "fragments",
          "quads", "blocked", "gather", "window", "unpack", "transpose"};
}

namespace {

// Whose times the constants of a family are fitted to.
bool is_fitted_to(const std::string& family, const cuda::Selection& selection) {
  if (family == "transpose") return selection.transpose || selection.repack;
  if (family == "unpack" && selection.family == cuda::Family::two_four) return true;
  return family_name(selection.family) == family;
}

// By the beginning of its name.
bool is_constant_of(const std::string& family, const std::string& constant) {
  if (family == "fragments" && constant.starts_with("held.")) return true;
  if (family == "window" && constant.starts_with("ring.")) return true;
  return constant.starts_with(family + ".");
}

}  // namespace

void fit_families(cuda::model::Constants& constants, std::span<const std::string> families,
                  std::span<const MeasuredProduct> measured, const cuda::DeviceInfo& device) {
  using cuda::model::Constants;
  using cuda::model::FitSample;
  int unknown = 0;
  const std::vector<ModelCase> cases = model_cases(measured, device, &unknown);
  const std::vector<DenseCase> dense = dense_cases(measured);
  for (const std::string& family : families) {
    std::vector<FitSample> samples;
    const auto with = [&device](const Constants& c) {
      cuda::DeviceInfo other = device;
      other.constants = &c;
      return other;
    };
    for (const ModelCase& c : cases)
      for (const ModelLine& line : c.lines)
        if (is_fitted_to(family, line.selection))
          samples.push_back(
              {line.measured->seconds,
               [&c, &line, with](const Constants& tried) {
                 return cuda::model::predict(line.selection, c.product, with(tried)).seconds;
               },
               static_cast<int>(&c - cases.data())});
    if (family == "dense")
      for (const DenseCase& d : dense)
        samples.push_back({d.seconds,
                           [&d, with](const Constants& tried) { return d.predicted(with(tried)); },
                           -1});
    std::vector<std::string> names;
    cuda::model::for_each_constant(constants, [&](const std::string& name, double) {
      if (is_constant_of(family, name)) names.push_back(name);
    });
    cuda::model::fit_constants(constants, names, samples);
  }
}

}  // namespace coppice::bench
