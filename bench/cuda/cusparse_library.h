// The functions of cuSPARSE that the baseline calls. Only for cusparse.cpp, where there is a
// header.
#pragma once

#include <cusparse.h>
#include <fmt/format.h>

#include <stdexcept>

#include "cuda/runtime_library.h"

namespace coppice::bench {

/// Found in the library that is there at run time.
struct CusparseLibrary {
#define COPPICE_CUSPARSE_FUNCTIONS(X) \
  X(Create)                           \
  X(SetStream)                        \
  X(CreateCsr)                        \
  X(CreateBlockedEll)                 \
  X(CreateDnMat)                      \
  X(CreateDnVec)                      \
  X(DestroySpMat)                     \
  X(DestroyDnMat)                     \
  X(DestroyDnVec)                     \
  X(SpMM_bufferSize)                  \
  X(SpMM_preprocess)                  \
  X(SpMM)                             \
  X(SpMV_bufferSize)                  \
  X(SpMV_preprocess)                  \
  X(SpMV)
#define COPPICE_FUNCTION(name) decltype(&cusparse##name) name = nullptr;
  COPPICE_CUSPARSE_FUNCTIONS(COPPICE_FUNCTION)
#undef COPPICE_FUNCTION
  cusparseHandle_t handle = nullptr;

  /// Null where it is not there.
  static const CusparseLibrary* load() {
    static CusparseLibrary library;
    static const bool loaded = library.find();
    return loaded ? &library : nullptr;
  }

 private:
  bool find() {
    const cuda::RuntimeLibrary file("COPPICE_CUSPARSE", {"libcusparse.so.12"});
    bool all = true;
#define COPPICE_FIND(name) all = all && file.find(name, "cusparse" #name);
    COPPICE_CUSPARSE_FUNCTIONS(COPPICE_FIND)
#undef COPPICE_FIND
    return all && Create(&handle) == CUSPARSE_STATUS_SUCCESS;
  }
};

inline void check_sparse(cusparseStatus_t status, const char* doing) {
  if (status != CUSPARSE_STATUS_SUCCESS)
    throw std::runtime_error(
        fmt::format("{}: cuSPARSE status {}", doing, static_cast<int>(status)));
}

}  // namespace coppice::bench
