#include "cuda/runtime_library.h"

#include <dlfcn.h>

#include <cstdlib>

namespace coppice::cuda {

RuntimeLibrary::RuntimeLibrary(const char* variable, std::initializer_list<const char*> files) {
  const char* named = std::getenv(variable);
  if (named != nullptr) {
    handle_ = dlopen(named, RTLD_NOW | RTLD_LOCAL);
    return;
  }
  for (const char* file : files)
    if (handle_ == nullptr) handle_ = dlopen(file, RTLD_NOW | RTLD_LOCAL);
}

void* RuntimeLibrary::address(const char* name) const {
  return handle_ != nullptr ? dlsym(handle_, name) : nullptr;
}

}  // namespace coppice::cuda
