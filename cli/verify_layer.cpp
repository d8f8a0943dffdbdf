#include "verify_layer.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "coppice/cuda.h"
#include "coppice/linear.h"
#include "core/parallel_for.h"
#if COPPICE_HAS_CUDA
#include "gpu_product.h"
#endif

namespace coppice::cli {
namespace {

bool cpu_takes(Dtype dtype) {
  return dtype == Dtype::f32 || dtype == Dtype::bf16 || dtype == Dtype::f16;
}

// x, and the exact y = W x in double precision from the dense weight.
struct Problem {
  std::int64_t tokens, rows, cols;
  std::vector<float> x;       // [tokens, cols]
  std::vector<double> exact;  // [tokens, rows]
};

Problem make_problem(const DenseView& dense, std::int64_t tokens, int threads) {
  Problem p{tokens, dense.rows, dense.cols, {}, {}};
  p.x.resize(static_cast<std::size_t>(tokens * dense.cols));
  p.exact.resize(static_cast<std::size_t>(tokens * dense.rows));
  std::mt19937 random(static_cast<std::uint32_t>(dense.rows * 31 + dense.cols));
  std::normal_distribution<float> normal;
  for (float& value : p.x) value = normal(random);
  // What every backend can be given exactly.
  if (dtype_bytes(dense.dtype) == 2)
    for (float& value : p.x) value = to_float(dense.dtype, from_float(dense.dtype, value));
  parallel_ranges(dense.rows, threads, [&](std::int64_t begin, std::int64_t end, int) {
    std::vector<float> row(static_cast<std::size_t>(dense.cols));
    for (std::int64_t r = begin; r < end; ++r) {
      to_float(dense.dtype, dense.row(r), row);
      for (std::int64_t t = 0; t < tokens; ++t) {
        const float* x = p.x.data() + t * dense.cols;
        double sum = 0;
        for (std::size_t c = 0; c < row.size(); ++c)
          sum += static_cast<double>(row[c]) * static_cast<double>(x[c]);
        p.exact[static_cast<std::size_t>(t * dense.rows + r)] = sum;
      }
    }
  });
  return p;
}

std::vector<float> transposed(const std::vector<float>& in, std::int64_t rows, std::int64_t cols) {
  std::vector<float> out(in.size());
  for (std::int64_t r = 0; r < rows; ++r)
    for (std::int64_t c = 0; c < cols; ++c)
      out[static_cast<std::size_t>(c * rows + r)] = in[static_cast<std::size_t>(r * cols + c)];
  return out;
}

// NaN where an output is missing. Outputs whose exact value is not finite only need to be so, too.
template <typename T>
double relative_error(const BasicActivations<T>& y, const Problem& p) {
  double error = 0, norm = 0;
  for (std::int64_t t = 0; t < p.tokens; ++t) {
    for (std::int64_t r = 0; r < p.rows; ++r) {
      double want = p.exact[static_cast<std::size_t>(t * p.rows + r)];
      auto got = static_cast<double>(y.at(t, r));
      if (!std::isfinite(want) && !std::isfinite(got)) continue;
      error += (got - want) * (got - want);
      norm += want * want;
    }
  }
  if (error == 0) return 0;
  return norm > 0 ? std::sqrt(error / norm) : std::numeric_limits<double>::infinity();
}

ProductCheck check_reference(const SparseView& sparse, const Problem& p, double bound) {
  std::vector<double> y(p.exact.size(), std::numeric_limits<double>::quiet_NaN());
  BasicActivations<double> out{y.data(), p.tokens, p.rows, Layout::token_major, 0};
  reference_multiply(sparse, {p.x.data(), p.tokens, p.cols, Layout::token_major, 0}, out);
  return {"reference", "", p.tokens, relative_error(out, p), bound};
}

std::vector<float> in_layout(const Problem& p, Layout layout) {
  return layout == Layout::feature_major ? transposed(p.x, p.tokens, p.cols) : p.x;
}

ProductCheck check_cpu(const cpu::PackedWeight& weight, const Problem& p, Layout layout,
                       int threads, double bound) {
  const std::vector<float> x = in_layout(p, layout);
  std::vector<float> y(p.exact.size(), std::numeric_limits<float>::quiet_NaN());
  MutableActivations out{y.data(), p.tokens, p.rows, layout, 0};
  cpu::multiply(weight, {x.data(), p.tokens, p.cols, layout, 0}, out, {}, threads);
  return {"cpu", cpu::kernel_name(weight, p.tokens), p.tokens, relative_error(out, p), bound};
}

#if COPPICE_HAS_CUDA
// Tensor cores cut off where other units round.
constexpr double kTensorCoreFactor = 4;

ProductCheck check_gpu(const GpuProduct& product, const Problem& p, Layout layout, double bound) {
  std::vector<float> y = product.multiply(in_layout(p, layout), p.tokens, layout);
  const MutableActivations out{y.data(), p.tokens, p.rows, layout, 0};
  return {"cuda", product.kernel(p.tokens, layout), p.tokens, relative_error(out, p),
          kTensorCoreFactor * bound};
}
#endif

bool same_bytes(std::span<const std::byte> a, std::span<const std::byte> b) {
  return std::ranges::equal(a, b);
}

bool round_trip(const SparseView& sparse, const DenseView& dense, int threads) {
  const WeightShape& shape = sparse.grid->shape();
  CompressOptions options{shape.row_segments, shape.col_segments, {}, threads};
  options.input_permutation.assign(sparse.input_permutation.begin(),
                                   sparse.input_permutation.end());
  SparseMatrix again = compress(dense, stored_mask(sparse), sparse.grid->pattern(), options);
  return same_bytes(again.values, sparse.values) && same_bytes(again.columns, sparse.columns) &&
         same_bytes(again.metadata, sparse.metadata);
}

}  // namespace

bool LayerCheck::products_ok() const { return std::ranges::all_of(products, &ProductCheck::ok); }

const ProductCheck& LayerCheck::worst() const {
  const ProductCheck* worst = &products.front();
  for (const ProductCheck& check : products) {
    if (std::isnan(worst->error)) break;  // nothing is worse
    if (!(check.error * worst->bound <= worst->error * check.bound)) worst = &check;
  }
  return *worst;
}

// Sums of n products err like a random walk of n steps of half an ulp; eight times that, so that
// only a wrong result is outside.
double accumulation_bound(std::int64_t terms) {
  return 8 * std::ldexp(1.0, -24) * (std::sqrt(static_cast<double>(terms)) + 2);
}

LayerCheck check_layer(const SparseView& sparse, const DenseView& dense, std::int64_t tokens,
                       int threads, Device device) {
  LayerCheck check;
  const double bound = accumulation_bound(sparse.grid->kept());
  check.round_trip = round_trip(sparse, dense, threads);
  const Problem many = make_problem(dense, tokens, threads);
  check.products.push_back(check_reference(sparse, many, bound));
  if (!cpu_takes(sparse.dtype)) return check;
  const Problem one = make_problem(dense, 1, threads);
  const cpu::PackedWeight weight(sparse, threads);
  const auto for_every_problem = [&](const auto& check_one) {
    for (const Problem* problem : {&one, &many})
      for (Layout layout : {Layout::token_major, Layout::feature_major})
        check.products.push_back(check_one(*problem, layout));
  };
  for_every_problem([&](const Problem& problem, Layout layout) {
    return check_cpu(weight, problem, layout, threads, bound);
  });
#if COPPICE_HAS_CUDA
  if (device == Device::cuda && cuda::can_multiply(sparse.grid->pattern(), sparse.dtype)) {
    const GpuProduct product(sparse);
    for_every_problem([&](const Problem& problem, Layout layout) {
      return check_gpu(product, problem, layout, bound);
    });
  }
#else
  (void)device;
#endif
  return check;
}

OriginalCheck compare_with_original(const DenseView& pruned, const DenseView& original) {
  OriginalCheck result;
  double kept = 0, total = 0;
  auto bytes = static_cast<std::size_t>(dtype_bytes(pruned.dtype));
  std::vector<float> now(static_cast<std::size_t>(pruned.cols)), before(now.size());
  for (std::int64_t r = 0; r < pruned.rows; ++r) {
    to_float(pruned.dtype, pruned.row(r), now);
    to_float(original.dtype, original.row(r), before);
    for (std::size_t c = 0; c < now.size(); ++c) {
      double magnitude = std::fabs(static_cast<double>(before[c]));
      if (std::isfinite(magnitude)) total += magnitude;
      if (now[c] == 0) continue;
      if (std::isfinite(magnitude)) kept += magnitude;
      if (std::memcmp(pruned.row(r) + c * bytes, original.row(r) + c * bytes, bytes) != 0)
        ++result.changed;
    }
  }
  result.kept_magnitude = total > 0 ? kept / total : 1;
  return result;
}

}  // namespace coppice::cli
