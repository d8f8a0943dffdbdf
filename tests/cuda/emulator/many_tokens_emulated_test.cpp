// Products of many tokens, on the host: those beside the tiles of wgmma_emulated_test.cpp.
#include "family.h"

namespace coppice::cuda {
namespace {

constexpr Dtype kF32 = Dtype::f32, kBf16 = Dtype::bf16;

TEST(EmulatedManyTokens, GatheredDenseWgmma) {
  emulated::check_family(Family::gather,
                         {{"vw64/8:32", 130, 520, 70},
                          {"vw128/8:32", 200, 300, 130, kBf16},
                          {"bw64x8/2:4", 130, 264, 30}},
                         {"launching a wgmma product"});
}

TEST(EmulatedManyTokens, PortableMma) {
  emulated::check_family(Family::mma,
                         {{"2:4", 130, 320, 70},
                          {"64:2:8", 150, 264, 100, kBf16},
                          {"32:2:7", 100, 200, 65},
                          {"16:2:8", 130, 300, 30, kBf16}},
                         {"kernels/sparse_mma_launch.h: kernel"});
}

TEST(EmulatedManyTokens, Windows) {
  emulated::check_family(Family::window,
                         {{"vw32/8:32", 130, 512, 70},
                          {"vw16/8:32", 100, 300, 64, kBf16},
                          {"bw16x2/2:8", 70, 200, 40}},
                         {"launching a product by windows"});
}

TEST(EmulatedManyTokens, Fp32) {
  emulated::check_family(Family::blocked,
                         {{"vw32/8:32", 130, 300, 70, kF32},
                          {"vw128/8:32", 130, 200, 260, kF32},
                          {"vw8/2:8", 70, 200, 257, kF32},
                          {"vw4/2:8", 100, 200, 130, kF32},
                          {"2:8", 60, 200, 30, kF32},
                          {"4:8", 50, 150, 131, kF32}},
                         {"launching a product of many tokens"});
}

TEST(EmulatedManyTokens, ExpandedInRegisters) {
  emulated::check_family(Family::expand,
                         {{"64:2:5", 70, 200, 70, Dtype::f16, true},
                          {"128:2:8", 130, 256, 72, kBf16, true},
                          {"64:2:16", 70, 512, 70, Dtype::f16, true}},
                         {"launching a wgmma product"});
}

TEST(EmulatedManyTokens, MadeTwoOfFour) {
  emulated::check_family(Family::two_four,
                         {{"64:2:8", 130, 264, 70, Dtype::f16, true},
                          {"2:8", 100, 200, 70, kBf16, true},
                          {"vw4/1:4", 70, 200, 30, Dtype::f16, true}},
                         {"launching a wgmma product", "launching the expansion of a weight"});
}

TEST(EmulatedManyTokens, MadeDense) {
  emulated::check_family(Family::unpack,
                         {{"4:8", 70, 200, 30},
                          {"2:16", 40, 333, 17, kBf16},
                          {"vw16/8:32", 70, 100, 9, kF32},
                          {"bw8x8/3:8", 50, 130, 20},
                          {"7:9", 20, 100, 5, kF32}},
                         {"launching the expansion of a weight", "unpack/finish.cu: kernel"});
}

}  // namespace
}  // namespace coppice::cuda
