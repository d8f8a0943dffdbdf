// A shared library that is looked for when it is needed: what few calls need must not keep programs
// from starting where it is missing. Not part of the public API.
#pragma once

#include <initializer_list>

namespace coppice::cuda {

class RuntimeLibrary {
 public:
  /// Opens the file that the environment variable names, else the first of `files` that is there.
  /// It stays open until the process ends.
  RuntimeLibrary(const char* variable, std::initializer_list<const char*> files);

  /// Sets `function` to the one of that name. @returns false if there is none.
  template <typename Function>
  bool find(Function& function, const char* name) const {
    function = reinterpret_cast<Function>(address(name));
    return function != nullptr;
  }

 private:
  void* address(const char* name) const;
  void* handle_ = nullptr;
};

}  // namespace coppice::cuda
