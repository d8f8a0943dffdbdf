// What the translation units of the window kernels share: one for each type.
#pragma once

#include <algorithm>

#include "cuda/launch.h"
#include "cuda/window/window_kernel.h"

namespace coppice::cuda {

struct WindowLaunch {
  LaunchShape shape;
  int tokens, vectors;
};

void launch_window_f16(const WindowLaunch& how, const WindowArguments& p, const CUtensorMap& x,
                       cudaStream_t stream);
void launch_window_bf16(const WindowLaunch& how, const WindowArguments& p, const CUtensorMap& x,
                        cudaStream_t stream);

template <Dtype kType, int kTokens>
void launch_window_tokens(const WindowLaunch& how, const WindowArguments& p, const CUtensorMap& x,
                          cudaStream_t stream) {
  const auto kernel = how.vectors == 1   ? window_kernel<kType, kTokens, 1>
                      : how.vectors == 2 ? window_kernel<kType, kTokens, 2>
                                         : window_kernel<kType, kTokens, 4>;
  launch(kernel, how.shape, stream, "launching a product by windows", p, x);
}

template <Dtype kType>
void launch_window_type(const WindowLaunch& how, const WindowArguments& p, const CUtensorMap& x,
                        cudaStream_t stream) {
  (how.tokens == 64 ? launch_window_tokens<kType, 64> : launch_window_tokens<kType, 32>)(how, p, x,
                                                                                         stream);
}

}  // namespace coppice::cuda
