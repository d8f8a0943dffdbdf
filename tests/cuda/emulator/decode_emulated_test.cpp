// V:2:M and 2:4 for few tokens, on the host.
#include "family.h"

namespace coppice::cuda {
namespace {

TEST(EmulatedDecode, EveryKernel) {
  emulated::check_family(
      Family::decode,
      {{"2:4", 130, 520, 1},
       {"2:4", 264, 1000, 12, Dtype::bf16},
       {"64:2:8", 200, 512, 9, Dtype::bf16},
       {"128:2:16", 150, 2000, 3, Dtype::f16, true},
       {"32:2:8", 100, 300, 17},
       {"16:2:5", 130, 520, 64},
       {"128:2:100", 130, 1000, 5}},
      {"launching a decode product", "launching a decode product in clusters",
       "launching a decode product by rings", "kernels/pack.cu: pack_records_kernel",
       "kernels/pack.cu: pack_lists_kernel"});
}

}  // namespace
}  // namespace coppice::cuda
