// The decode kernels for f16.
#include "cuda/kernels/decode_launch.h"

namespace coppice::cuda::decode {

void launch_f16(const Launch& launch, const DecodeArguments& a) {
  launch_all<Dtype::f16>(launch, a);
}

}  // namespace coppice::cuda::decode
