#include "bench/cuda/cusparselt.h"

#if __has_include(<cusparseLt.h>)

#include <cusparseLt.h>
#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>
#include <vector>

#include "cuda/runtime_library.h"

namespace coppice::bench {
namespace {

// The functions used, found in the library that is there at run time.
struct Library {
#define COPPICE_FUNCTION(name) decltype(&cusparseLt##name) name = nullptr
  COPPICE_FUNCTION(Init);
  COPPICE_FUNCTION(GetProperty);
  COPPICE_FUNCTION(DenseDescriptorInit);
  COPPICE_FUNCTION(StructuredDescriptorInit);
  COPPICE_FUNCTION(MatmulDescriptorInit);
  COPPICE_FUNCTION(MatmulAlgSelectionInit);
  COPPICE_FUNCTION(MatmulPlanInit);
  COPPICE_FUNCTION(MatmulGetWorkspace);
  COPPICE_FUNCTION(SpMMAPrune);
  COPPICE_FUNCTION(SpMMACompressedSize);
  COPPICE_FUNCTION(SpMMACompress);
  COPPICE_FUNCTION(MatmulSearch);
  COPPICE_FUNCTION(Matmul);
#undef COPPICE_FUNCTION

  bool load() {
    const cuda::RuntimeLibrary file("COPPICE_CUSPARSELT", {"libcusparseLt.so.0"});
    bool all = true;
#define COPPICE_FIND(name) all = all && file.find(name, "cusparseLt" #name)
    COPPICE_FIND(Init);
    COPPICE_FIND(GetProperty);
    COPPICE_FIND(DenseDescriptorInit);
    COPPICE_FIND(StructuredDescriptorInit);
    COPPICE_FIND(MatmulDescriptorInit);
    COPPICE_FIND(MatmulAlgSelectionInit);
    COPPICE_FIND(MatmulPlanInit);
    COPPICE_FIND(MatmulGetWorkspace);
    COPPICE_FIND(SpMMAPrune);
    COPPICE_FIND(SpMMACompressedSize);
    COPPICE_FIND(SpMMACompress);
    COPPICE_FIND(MatmulSearch);
    COPPICE_FIND(Matmul);
#undef COPPICE_FIND
    return all;
  }

  std::string version() const {
    int major = 0, minor = 0, patch = 0;
    GetProperty(MAJOR_VERSION, &major);
    GetProperty(MINOR_VERSION, &minor);
    GetProperty(PATCH_LEVEL, &patch);
    return fmt::format("{}.{}.{}", major, minor, patch);
  }
};

// Numbers of tokens that the library takes in 16-bit types; others are "not supported" (10).
constexpr std::int64_t kTokens = 8;

void check_lt(cusparseStatus_t status, const char* doing) {
  if (status != CUSPARSE_STATUS_SUCCESS)
    throw std::runtime_error(std::string(doing) + ": cuSPARSELt status " + std::to_string(status));
}

class Product : public CusparseLtProduct {
 public:
  Product(const Library& lib, const DenseProblem& p, bool token_major, cudaStream_t stream)
      : lib_(lib), stream_(stream), name_(token_major ? "token-major" : "feature-major") {
    const cudaDataType type = p.dtype == Dtype::bf16 ? CUDA_R_16BF : CUDA_R_16F;
    const cusparseOrder_t order = token_major ? CUSPARSE_ORDER_COL : CUSPARSE_ORDER_ROW;
    check_lt(lib_.Init(&handle_), "init");
    check_lt(lib_.StructuredDescriptorInit(&handle_, &w_, p.rows, p.cols, p.cols, 16, type,
                                           CUSPARSE_ORDER_ROW, CUSPARSELT_SPARSITY_50_PERCENT),
             "weight");
    check_lt(lib_.DenseDescriptorInit(&handle_, &x_, p.cols, p.tokens,
                                      token_major ? p.cols : p.tokens, 16, type, order),
             "activations");
    check_lt(lib_.DenseDescriptorInit(&handle_, &y_, p.rows, p.tokens,
                                      token_major ? p.rows : p.tokens, 16, type, order),
             "output");
    check_lt(lib_.MatmulDescriptorInit(&handle_, &multiply_, CUSPARSE_OPERATION_NON_TRANSPOSE,
                                       CUSPARSE_OPERATION_NON_TRANSPOSE, &w_, &x_, &y_, &y_,
                                       CUSPARSE_COMPUTE_32F),
             "product");
    check_lt(lib_.MatmulAlgSelectionInit(&handle_, &selection_, &multiply_,
                                         CUSPARSELT_MATMUL_ALG_DEFAULT),
             "selection");
    check_lt(lib_.MatmulPlanInit(&handle_, &plan_, &multiply_, &selection_), "plan");
    fill(p);
    search();
  }

  DeviceCall call() const override {
    return [this](int i, cudaStream_t) { enqueue(i); };
  }
  const std::string& name() const override { return name_; }

 private:
  void fill(const DenseProblem& p) {
    const std::int64_t bytes = p.cols * p.rows * 9 / 8 + 2 * p.tokens * (p.cols + p.rows);
    const std::int64_t copies = rotated_copies(bytes);
    std::size_t size = 0, scratch = 0;
    check_lt(lib_.SpMMACompressedSize(&handle_, &plan_, &size, &scratch), "compressed size");
    const DeviceMemory dense = random_values(p.cols * p.rows, p.dtype, 3);
    check_lt(lib_.SpMMAPrune(&handle_, &multiply_, dense.data(), dense.data(),
                             CUSPARSELT_PRUNE_SPMMA_STRIP, stream_),
             "prune");
    const DeviceMemory scratch_memory(scratch);
    for (std::int64_t i = 0; i < copies; ++i) {
      weights_.emplace_back(size);
      check_lt(lib_.SpMMACompress(&handle_, &plan_, dense.data(), weights_.back().data(),
                                  scratch_memory.data(), stream_),
               "compress");
      inputs_.push_back(random_values(p.cols * p.tokens, p.dtype, static_cast<std::uint64_t>(i)));
      outputs_.emplace_back(static_cast<std::size_t>(p.rows * p.tokens * 2));
    }
    check_cuda(cudaStreamSynchronize(stream_), "compressing");
  }

  void search() {
    const float one = 1, zero = 0;
    check_lt(lib_.MatmulSearch(&handle_, &plan_, &one, weights_[0].data(), inputs_[0].data(), &zero,
                               outputs_[0].data(), outputs_[0].data(), nullptr, &stream_, 1),
             "search");
    std::size_t bytes = 0;
    check_lt(lib_.MatmulGetWorkspace(&handle_, &plan_, &bytes), "workspace");
    workspace_.emplace_back(bytes);
  }

  void enqueue(int i) const {
    const std::size_t n = static_cast<std::size_t>(i) % weights_.size();
    const float one = 1, zero = 0;
    cudaStream_t stream = stream_;
    check_lt(lib_.Matmul(&handle_, &plan_, &one, weights_[n].data(), inputs_[n].data(), &zero,
                         outputs_[n].data(), outputs_[n].data(), workspace_[0].data(), &stream, 1),
             "product");
  }

  const Library& lib_;
  cudaStream_t stream_;
  std::string name_;
  cusparseLtHandle_t handle_;
  cusparseLtMatDescriptor_t w_, x_, y_;
  cusparseLtMatmulDescriptor_t multiply_;
  cusparseLtMatmulAlgSelection_t selection_;
  cusparseLtMatmulPlan_t plan_;
  std::vector<DeviceMemory> weights_, inputs_, outputs_, workspace_;
};

}  // namespace

std::unique_ptr<CusparseLtProduct> make_cusparselt(const DenseProblem& problem, cudaStream_t stream,
                                                   std::string* reason) {
  static Library library;
  static const bool loaded = library.load();
  if (!loaded) {
    *reason = "libcusparseLt.so.0 not found (COPPICE_CUSPARSELT can name the file)";
    return nullptr;
  }
  if (problem.tokens % kTokens != 0) {
    *reason = fmt::format("it multiplies by multiples of {} tokens", kTokens);
    return nullptr;
  }
  std::unique_ptr<Product> best;
  double best_seconds = 0;
  for (bool token_major : {true, false}) {
    try {
      auto product = std::make_unique<Product>(library, problem, token_major, stream);
      ReplayedCall replayed(product->call(), stream, 4e-3);
      const double seconds = std::min(replayed.replay(), replayed.replay());
      if (best != nullptr && seconds >= best_seconds) continue;
      best_seconds = seconds;
      best = std::move(product);
    } catch (const std::runtime_error& error) {
      *reason = fmt::format("{} (library {}, built with the header of {}.{}.{})", error.what(),
                            library.version(), CUSPARSELT_VER_MAJOR, CUSPARSELT_VER_MINOR,
                            CUSPARSELT_VER_PATCH);
    }
  }
  return best;
}

}  // namespace coppice::bench

#else

namespace coppice::bench {

std::unique_ptr<CusparseLtProduct> make_cusparselt(const DenseProblem&, cudaStream_t,
                                                   std::string* reason) {
  *reason = "built without cusparseLt.h";
  return nullptr;
}

}  // namespace coppice::bench

#endif
