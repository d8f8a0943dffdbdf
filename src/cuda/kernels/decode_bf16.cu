// The decode kernels for bf16.
#include "cuda/kernels/decode_launch.h"

namespace coppice::cuda::decode {

void launch_bf16(const Launch& launch, const DecodeArguments& a) {
  launch_all<Dtype::bf16>(launch, a);
}

}  // namespace coppice::cuda::decode
