#include "cuda/prune/routines.h"

#include <fmt/format.h>

#include <string>

#include "coppice/error.h"
#include "cuda/runtime_library.h"

namespace coppice::cuda {
namespace {

/// One of the libraries, of the version whose headers this was compiled with.
class Library {
 public:
  Library(const char* variable, std::string file)
      : variable_(variable), file_(std::move(file)), library_(variable, {file_.c_str()}) {}

  template <typename Function>
  void find(Function& function, const char* name) const {
    if (!library_.find(function, name))
      throw DeviceError(
          fmt::format("pruning with compensation on a GPU needs {} of {}, which comes with the "
                      "CUDA toolkit ({} can name the file); install it, or use the CPU",
                      name, file_, variable_));
  }

 private:
  const char* variable_;
  std::string file_;
  RuntimeLibrary library_;
};

Routines load() {
  const Library blas("COPPICE_CUBLAS", fmt::format("libcublas.so.{}", CUBLAS_VER_MAJOR));
  const Library solver("COPPICE_CUSOLVER", fmt::format("libcusolver.so.{}", CUSOLVER_VER_MAJOR));
  Routines r;
  blas.find(r.cublas_create, "cublasCreate_v2");
  blas.find(r.cublas_destroy, "cublasDestroy_v2");
  blas.find(r.sgemm, "cublasSgemm_v2");
  blas.find(r.dgemm, "cublasDgemm_v2");
  solver.find(r.cusolver_create, "cusolverDnCreate");
  solver.find(r.cusolver_destroy, "cusolverDnDestroy");
  solver.find(r.cusolver_create_params, "cusolverDnCreateParams");
  solver.find(r.cusolver_destroy_params, "cusolverDnDestroyParams");
  solver.find(r.potrf_size, "cusolverDnXpotrf_bufferSize");
  solver.find(r.potrf, "cusolverDnXpotrf");
  solver.find(r.trtri_size, "cusolverDnXtrtri_bufferSize");
  solver.find(r.trtri, "cusolverDnXtrtri");
  solver.find(r.syevd_size, "cusolverDnXsyevd_bufferSize");
  solver.find(r.syevd, "cusolverDnXsyevd");
  return r;
}

}  // namespace

const Routines& routines() {
  static const Routines loaded = load();
  return loaded;
}

}  // namespace coppice::cuda
