#include "bench/cuda/cublas.h"

#include "cuda/runtime_library.h"

#define COPPICE_TEXT_OF(value) #value
#define COPPICE_TEXT(value) COPPICE_TEXT_OF(value)

namespace coppice::bench {
namespace {

// The version whose headers this was compiled with: structures may differ in another one.
bool find_all(Cublas& functions) {
  const cuda::RuntimeLibrary lt("COPPICE_CUBLASLT",
                                {"libcublasLt.so." COPPICE_TEXT(CUBLAS_VER_MAJOR)});
  const cuda::RuntimeLibrary blas("COPPICE_CUBLAS",
                                  {"libcublas.so." COPPICE_TEXT(CUBLAS_VER_MAJOR)});
  bool all = blas.find(functions.cublasGemmEx, "cublasGemmEx");
#define COPPICE_FIND_BLAS(name) all = all && blas.find(functions.name, #name);
#define COPPICE_FIND_LT(name) all = all && lt.find(functions.name, #name);
  COPPICE_CUBLAS_FUNCTIONS(COPPICE_FIND_BLAS)
  COPPICE_CUBLASLT_FUNCTIONS(COPPICE_FIND_LT)
#undef COPPICE_FIND_BLAS
#undef COPPICE_FIND_LT
  return all;
}

}  // namespace

const Cublas* Cublas::load(std::string* reason) {
  static Cublas functions;
  static const bool found = find_all(functions);
  if (found) return &functions;
  *reason = "libcublas.so." COPPICE_TEXT(CUBLAS_VER_MAJOR) " or libcublasLt not found "
            "(COPPICE_CUBLAS and COPPICE_CUBLASLT can name the files)";
  return nullptr;
}

}  // namespace coppice::bench
