// Element-, vector- and block-wise weights for few tokens, on the host.
#include "family.h"

namespace coppice::cuda {
namespace {

TEST(EmulatedElement, Lookups) {
  emulated::check_family(
      Family::lookup,
      {{"4:8", 130, 520, 1},
       {"2:8", 130, 2000, 3, Dtype::bf16},
       {"2:8", 70, 520, 2, Dtype::f32},
       {"8:16", 40, 700, 5},
       {"16:32", 20, 500, 4, Dtype::f32},
       {"3:32", 100, 500, 2, Dtype::bf16},
       {"vw32/8:32", 100, 900, 3},
       {"vw8/8:32", 50, 700, 2, Dtype::f32},
       {"bw4x16/2:8", 70, 600, 3},
       {"2:8", 16, 6000, 1}},
      {"launching a product by look-ups", "launching a product by look-ups in clusters",
       "element/element_pack.cu: pack_choices_kernel"});
}

TEST(EmulatedElement, GeneralLookups) {
  emulated::check_family(Family::lookup, {{"2:5", 30, 333, 3}, {"7:9", 33, 100, 3}},
                         {"launching a general product"});
}

TEST(EmulatedElement, Fragments) {
  emulated::check_family(
      Family::fragments,
      {{"4:8", 130, 520, 1},
       {"4:8", 270, 1000, 13, Dtype::bf16, true},
       {"2:8", 130, 2000, 30, Dtype::f16, true},
       {"2:16", 100, 500, 60, Dtype::bf16},
       {"vw32/8:32", 130, 520, 30},
       {"bw16x4/2:8", 200, 300, 5, Dtype::bf16}},
      {"launching a product by fragments", "launching a product by fragments in clusters",
       "launching a product by fragments with activations in registers"});
}

TEST(EmulatedElement, Quads) {
  emulated::check_family(Family::quads,
                         {{"2:8", 130, 520, 13},
                          {"2:8", 130, 700, 70, Dtype::bf16},
                          {"1:4", 130, 333, 40},
                          {"2:16", 100, 500, 60, Dtype::bf16}},
                         {"launching a product of quads", "launching a product of quads by rings",
                          "ordering activations"});
}

}  // namespace
}  // namespace coppice::cuda
