#include "bench/cuda/dense.h"

#include <algorithm>
#include <stdexcept>
#include <vector>

#include "bench/cuda/cublas.h"

namespace coppice::bench {
namespace {

constexpr std::size_t kWorkspace = std::size_t{64} << 20;
constexpr int kHeuristics = 8;

void check_blas(cublasStatus_t status, const char* doing) {
  if (status != CUBLAS_STATUS_SUCCESS)
    throw std::runtime_error(std::string(doing) + ": cuBLAS status " + std::to_string(status));
}

// Column-major views. Token-major Y: rows x tokens = W(T) X(N). Feature-major Y: tokens x rows =
// X(N) W(N).
struct Form {
  const char* name;
  bool token_major;
};
constexpr Form kForms[] = {{"TN token-major", true}, {"NN feature-major", false}};

struct Candidate {
  const Form* form;
  bool lt;
  cublasLtMatmulAlgo_t algo;
  std::string name;
};

}  // namespace

DenseWeights::DenseWeights(std::int64_t rows, std::int64_t cols, Dtype dtype) {
  const std::int64_t count = rows * cols;
  for (std::int64_t i = 0, n = rotated_copies(count * dtype_bytes(dtype)); i < n; ++i)
    copies_.push_back(random_values(count, dtype, static_cast<std::uint64_t>(i)));
}

DenseOperands::DenseOperands(const DenseProblem& p, const DenseWeights& weights) : w(weights) {
  const auto copies = std::min(w.count(), static_cast<std::size_t>(rotated_copies(p.bytes())));
  for (std::size_t i = 0; i < copies; ++i) {
    x.push_back(random_values(p.cols * p.tokens, p.dtype, i + 9));
    y.emplace_back(static_cast<std::size_t>(p.output_bytes()));
  }
}

struct DenseProduct::Impl {
  Impl(const DenseProblem& problem, const DenseWeights& weights, cudaStream_t on)
      : p(problem), stream(on), operands(problem, weights) {}

  const Cublas* lib = nullptr;
  DenseProblem p;
  cudaStream_t stream;
  DenseOperands operands;
  cublasHandle_t blas = nullptr;
  cublasLtHandle_t lt = nullptr;
  DeviceMemory workspace{kWorkspace};
  cublasLtMatmulDesc_t operation[2] = {};
  cublasLtMatrixLayout_t a[2] = {}, b[2] = {}, d[2] = {};
  Candidate chosen{};

  bool fp8() const { return p.dtype == Dtype::f8_e4m3; }
  int forms() const { return fp8() ? 1 : 2; }
  cudaDataType type() const {
    switch (p.dtype) {
      case Dtype::f8_e4m3:
        return CUDA_R_8F_E4M3;
      case Dtype::bf16:
        return CUDA_R_16BF;
      case Dtype::f32:
        return CUDA_R_32F;
      default:
        return CUDA_R_16F;
    }
  }

  void describe(int form) {
    const bool tn = kForms[form].token_major;
    const auto rows = static_cast<std::uint64_t>(p.rows), cols = static_cast<std::uint64_t>(p.cols),
               tokens = static_cast<std::uint64_t>(p.tokens);
    check_blas(lib->cublasLtMatmulDescCreate(&operation[form], CUBLAS_COMPUTE_32F, CUDA_R_32F),
               "desc");
    const cublasOperation_t op_a = tn ? CUBLAS_OP_T : CUBLAS_OP_N;
    check_blas(lib->cublasLtMatmulDescSetAttribute(operation[form], CUBLASLT_MATMUL_DESC_TRANSA,
                                                   &op_a, sizeof op_a),
               "transposition");
    const cudaDataType out = fp8() ? CUDA_R_16F : type();
    const auto lead = [](std::uint64_t n) { return static_cast<std::int64_t>(n); };
    if (tn) {
      check_blas(lib->cublasLtMatrixLayoutCreate(&a[form], type(), cols, rows, lead(cols)),
                 "layout");
      check_blas(lib->cublasLtMatrixLayoutCreate(&b[form], type(), cols, tokens, lead(cols)),
                 "layout");
      check_blas(lib->cublasLtMatrixLayoutCreate(&d[form], out, rows, tokens, lead(rows)),
                 "layout");
    } else {
      check_blas(lib->cublasLtMatrixLayoutCreate(&a[form], type(), tokens, cols, lead(tokens)),
                 "layout");
      check_blas(lib->cublasLtMatrixLayoutCreate(&b[form], type(), cols, rows, lead(cols)),
                 "layout");
      check_blas(lib->cublasLtMatrixLayoutCreate(&d[form], out, tokens, rows, lead(tokens)),
                 "layout");
    }
  }

  bool enqueue(const Candidate& c, int i) const {
    const std::size_t n = operands.turn(i);
    const float one = 1, zero = 0;
    const bool tn = c.form->token_major;
    const int form = static_cast<int>(c.form - kForms);
    void* y = operands.y[n].data();
    const void* first = tn ? operands.w[n] : operands.x[n].data();
    const void* second = tn ? operands.x[n].data() : operands.w[n];
    if (c.lt)
      return lib->cublasLtMatmul(lt, operation[form], &one, first, a[form], second, b[form], &zero,
                                 y, d[form], y, d[form], &c.algo, workspace.data(), kWorkspace,
                                 stream) == CUBLAS_STATUS_SUCCESS;
    const int rows = static_cast<int>(p.rows), cols = static_cast<int>(p.cols),
              tokens = static_cast<int>(p.tokens);
    if (tn)
      return lib->cublasGemmEx(blas, CUBLAS_OP_T, CUBLAS_OP_N, rows, tokens, cols, &one, first,
                               type(), cols, second, type(), cols, &zero, y, type(), rows,
                               CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT) == CUBLAS_STATUS_SUCCESS;
    return lib->cublasGemmEx(blas, CUBLAS_OP_N, CUBLAS_OP_N, tokens, rows, cols, &one, first,
                             type(), tokens, second, type(), cols, &zero, y, type(), tokens,
                             CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT) == CUBLAS_STATUS_SUCCESS;
  }

  std::vector<Candidate> candidates() {
    std::vector<Candidate> all;
    for (int form = 0; form < forms(); ++form) {
      if (!fp8())
        all.push_back({&kForms[form], false, {}, std::string("cublasGemmEx ") + kForms[form].name});
      cublasLtMatmulPreference_t preference = nullptr;
      check_blas(lib->cublasLtMatmulPreferenceCreate(&preference), "preference");
      check_blas(
          lib->cublasLtMatmulPreferenceSetAttribute(
              preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &kWorkspace, sizeof kWorkspace),
          "preference");
      cublasLtMatmulHeuristicResult_t found[kHeuristics];
      int count = 0;
      if (lib->cublasLtMatmulAlgoGetHeuristic(lt, operation[form], a[form], b[form], d[form],
                                              d[form], preference, kHeuristics, found,
                                              &count) == CUBLAS_STATUS_SUCCESS)
        for (int i = 0; i < count; ++i)
          all.push_back({&kForms[form], true, found[i].algo,
                         std::string("cublasLt ") + kForms[form].name + " #" + std::to_string(i)});
      lib->cublasLtMatmulPreferenceDestroy(preference);
    }
    return all;
  }
};

DenseProduct::DenseProduct(const DenseProblem& problem, const DenseWeights& weights,
                           cudaStream_t stream) {
  std::string reason;
  const Cublas* lib = Cublas::load(&reason);
  if (lib == nullptr) throw std::runtime_error(reason);
  impl_ = std::make_unique<Impl>(problem, weights, stream);
  impl_->lib = lib;
  check_blas(lib->cublasCreate(&impl_->blas), "cublasCreate");
  check_blas(lib->cublasSetStream(impl_->blas, stream), "cublasSetStream");
  check_blas(lib->cublasSetWorkspace(impl_->blas, impl_->workspace.data(), kWorkspace),
             "workspace");
  check_blas(lib->cublasLtCreate(&impl_->lt), "cublasLtCreate");
  for (int form = 0; form < impl_->forms(); ++form) impl_->describe(form);
}

DenseProduct::~DenseProduct() {
  const Cublas* lib = impl_->lib;
  for (int form = 0; form < impl_->forms(); ++form) {
    lib->cublasLtMatrixLayoutDestroy(impl_->a[form]);
    lib->cublasLtMatrixLayoutDestroy(impl_->b[form]);
    lib->cublasLtMatrixLayoutDestroy(impl_->d[form]);
    lib->cublasLtMatmulDescDestroy(impl_->operation[form]);
  }
  lib->cublasLtDestroy(impl_->lt);
  lib->cublasDestroy(impl_->blas);
}

bool DenseProduct::choose() {
  // A call of some length tells by itself that an algorithm is slow; short ones need a graph.
  constexpr double kSeconds = 2e-3, kLong = 100e-6, kHopeless = 1.3;
  double best = 0;
  for (const Candidate& candidate : impl_->candidates()) {
    if (!impl_->enqueue(candidate, 0)) continue;
    check_cuda(cudaStreamSynchronize(impl_->stream), "dense product");
    const DeviceCall call = [&](int i, cudaStream_t) { impl_->enqueue(candidate, i); };
    double seconds = seconds_of_call(call, 1, impl_->stream);
    if (best != 0 && seconds > kLong && seconds > kHopeless * best) continue;
    if (seconds < 4 * kSeconds) {
      ReplayedCall replayed(call, impl_->stream, kSeconds);
      seconds = std::min(replayed.replay(), replayed.replay());
    }
    if (best != 0 && seconds >= best) continue;
    best = seconds;
    impl_->chosen = candidate;
    name_ = candidate.name;
  }
  return best != 0;
}

DeviceCall DenseProduct::call() const {
  return [impl = impl_.get()](int i, cudaStream_t) { impl->enqueue(impl->chosen, i); };
}

}  // namespace coppice::bench
