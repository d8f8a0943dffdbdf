#include "cuda/unpack/dense_library.h"

#include <fmt/format.h>

#include <mutex>
#include <string>
#include <vector>

#include "coppice/cuda.h"
#include "coppice/cuda_libraries.h"
#include "coppice/error.h"
#include "cuda/check.h"
#include "cuda/runtime_library.h"

namespace coppice::cuda {
namespace {

constexpr std::size_t kMostKnown = 4096;  // problems; then they are asked for anew

// Of the version whose header this was compiled with; nothing where the library is missing.
const DenseRoutines* routines() {
  static DenseRoutines r;
  static const bool found = [] {
    const std::string file = fmt::format("libcublasLt.so.{}", CUBLAS_VER_MAJOR);
    const RuntimeLibrary library("COPPICE_CUBLASLT", {file.c_str()});
    return library.find(r.create, "cublasLtCreate") && library.find(r.matmul, "cublasLtMatmul") &&
           library.find(r.heuristic, "cublasLtMatmulAlgoGetHeuristic") &&
           library.find(r.init_operation, "cublasLtMatmulDescInit_internal") &&
           library.find(r.set_operation, "cublasLtMatmulDescSetAttribute") &&
           library.find(r.init_layout, "cublasLtMatrixLayoutInit_internal") &&
           library.find(r.init_preference, "cublasLtMatmulPreferenceInit_internal") &&
           library.find(r.set_preference, "cublasLtMatmulPreferenceSetAttribute");
  }();
  return found ? &r : nullptr;
}

void check(cublasStatus_t status, const char* doing) {
  if (status != CUBLAS_STATUS_SUCCESS)
    throw DeviceError(fmt::format("{}: cuBLASLt error {}", doing, static_cast<int>(status)));
}

cudaDataType type_of(Dtype dtype) {
  return dtype == Dtype::f32 ? CUDA_R_32F : dtype == Dtype::f16 ? CUDA_R_16F : CUDA_R_16BF;
}

}  // namespace

DenseLibrary* DenseLibrary::of_current_device() {
  static std::mutex mutex;
  static std::vector<std::unique_ptr<DenseLibrary>> opened;
  static std::vector<bool> asked;
  int device = 0;
  check(cudaGetDevice(&device), "asking for the current device");
  const auto index = static_cast<std::size_t>(device);
  const std::lock_guard lock(mutex);
  if (asked.size() <= index) {
    asked.resize(index + 1);
    opened.resize(index + 1);
  }
  if (!asked[index]) {
    asked[index] = true;
    const DenseRoutines* call = routines();
    cublasLtHandle_t handle = nullptr;
    if (call != nullptr && call->create(&handle) == CUBLAS_STATUS_SUCCESS)
      opened[index].reset(new DenseLibrary(*call, handle));
  }
  return opened[index].get();
}

bool has_dense_library() {
  return device_count() > 0 && DenseLibrary::of_current_device() != nullptr;
}

// The library's matrices go column by column: w is [cols][rows] there, token-major y [rows][tokens]
// = wT x, feature-major y [tokens][rows] = xT w.
void DenseLibrary::describe(const DenseProblem& p, Way& way) const {
  const auto size = [](std::int64_t n) { return static_cast<std::uint64_t>(n); };
  const auto layout = [&](cublasLtMatrixLayoutOpaque_t& to, Dtype dtype, std::int64_t height,
                          std::int64_t width, std::int64_t stride) {
    check(call_.init_layout(&to, sizeof to, type_of(dtype), size(height), size(width), stride),
          "describing a matrix");
  };
  check(
      call_.init_operation(&way.operation, sizeof way.operation,
                           p.tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F, CUDA_R_32F),
      "describing a product");
  const auto set = [&](cublasLtMatmulDescAttributes_t which, const auto& value) {
    check(call_.set_operation(&way.operation, which, &value, sizeof value), "describing a product");
  };
  const auto describe_x = [&](cublasLtMatrixLayoutOpaque_t& to) {
    if (p.x_token_major)
      layout(to, p.dtype, p.cols, p.tokens, p.x_stride);
    else
      layout(to, p.dtype, p.tokens, p.cols, p.x_stride);
  };
  if (p.y_token_major) {
    layout(way.a, p.dtype, p.cols, p.rows, p.w_stride);
    describe_x(way.b);
    layout(way.d, p.out, p.rows, p.tokens, p.y_stride);
    set(CUBLASLT_MATMUL_DESC_TRANSA, CUBLAS_OP_T);
    set(CUBLASLT_MATMUL_DESC_TRANSB, p.x_token_major ? CUBLAS_OP_N : CUBLAS_OP_T);
  } else {
    describe_x(way.a);
    layout(way.b, p.dtype, p.cols, p.rows, p.w_stride);
    layout(way.d, p.out, p.tokens, p.rows, p.y_stride);
    set(CUBLASLT_MATMUL_DESC_TRANSA, p.x_token_major ? CUBLAS_OP_T : CUBLAS_OP_N);
    set(CUBLASLT_MATMUL_DESC_TRANSB, CUBLAS_OP_N);
  }
  if (!p.biased) return;
  set(CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_BIAS);
  // Algorithms are chosen by its alignment, and it is not read before it is replaced.
  const auto* pointer = reinterpret_cast<const void*>(std::uintptr_t{16});
  set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, pointer);
}

std::optional<DenseLibrary::Way> DenseLibrary::find_way(const DenseProblem& p) const {
  Way way{};
  describe(p, way);
  cublasLtMatmulPreferenceOpaque_t preference;
  check(call_.init_preference(&preference, sizeof preference), "choosing a dense product");
  const auto prefer = [&](cublasLtMatmulPreferenceAttributes_t which, const auto& value) {
    check(call_.set_preference(&preference, which, &value, sizeof value),
          "choosing a dense product");
  };
  const std::uint32_t w_alignment = 16;
  prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, static_cast<std::size_t>(p.workspace_bytes));
  // Partial sums stay fp32.
  prefer(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
         static_cast<std::uint32_t>(CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE));
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, p.y_token_major ? w_alignment : p.x_alignment);
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, p.y_token_major ? p.x_alignment : w_alignment);
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, p.y_alignment);
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, p.y_alignment);
  cublasLtMatmulHeuristicResult_t found{};
  int count = 0;
  if (call_.heuristic(handle_, &way.operation, &way.a, &way.b, &way.d, &way.d, &preference, 1,
                      &found, &count) != CUBLAS_STATUS_SUCCESS ||
      count == 0 || found.state != CUBLAS_STATUS_SUCCESS)
    return std::nullopt;
  way.algorithm = found.algo;
  return way;
}

std::optional<DenseLibrary::Way> DenseLibrary::way_of(const DenseProblem& problem) {
  {
    const std::shared_lock lock(mutex_);
    if (const auto known = known_.find(problem); known != known_.end()) return known->second;
  }
  const std::optional<Way> way = find_way(problem);
  const std::unique_lock lock(mutex_);
  if (known_.size() >= kMostKnown) known_.clear();
  return known_.emplace(problem, way).first->second;
}

bool DenseLibrary::can_multiply(const DenseProblem& problem) { return way_of(problem).has_value(); }

void DenseLibrary::multiply(const DenseProblem& p, const DenseOperands& o, cudaStream_t stream) {
  std::optional<Way> way = way_of(p);
  if (!way)
    throw DeviceError(fmt::format("cuBLASLt has no product of {} x {} by {} tokens in {}", p.rows,
                                  p.cols, p.tokens, dtype_name(p.dtype)));
  if (p.biased)
    check(call_.set_operation(&way->operation, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &o.bias,
                              sizeof o.bias),
          "describing a product");
  const float beta = p.adds ? 1.0F : 0.0F;
  const void* a = p.y_token_major ? o.w : o.x;
  const void* b = p.y_token_major ? o.x : o.w;
  check(call_.matmul(handle_, &way->operation, &o.alpha, a, &way->a, b, &way->b, &beta,
                     p.adds ? o.c : o.y, &way->d, o.y, &way->d, &way->algorithm, o.workspace,
                     static_cast<std::size_t>(p.workspace_bytes), stream),
        "launching a dense product");
}

}  // namespace coppice::cuda
