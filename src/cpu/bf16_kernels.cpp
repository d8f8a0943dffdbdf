#include "cpu/bf16_kernels.h"

#include "coppice/linear.h"
#include "cpu/bf16_avx512.h"

#ifdef COPPICE_CPU_BF16_KERNELS
#include <cpuid.h>
#endif

namespace coppice::cpu {

#ifdef COPPICE_CPU_BF16_KERNELS

namespace {

bool has_instructions() {
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512vbmi2") &&
         __builtin_cpu_supports("bmi2");
}

bool has_tile_instructions() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  constexpr unsigned kAmxBf16 = 1u << 22;
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (d & kAmxBf16) != 0;
}

constexpr Bf16Kernels kKernels = {.join = avx512::join,
                                  .multiply_looked_up = avx512::multiply_looked_up,
                                  .multiply = avx512::multiply,
                                  .multiply_kept = avx512::multiply_kept,
                                  .multiply_listed = avx512::multiply_listed,
                                  .dot = avx512::dot,
                                  .expand = avx512::expand,
                                  .pair = avx512::pair,
                                  .transpose_pairs = avx512::transpose_pairs,
                                  .transpose = avx512::transpose,
                                  .round = avx512::round,
                                  .round_transposed = avx512::round_transposed,
                                  .round_dots = avx512::round_dots};

}  // namespace

const Bf16Kernels* bf16_kernels() {
  static const bool usable = has_instructions();
  return usable && target_name().starts_with("AVX3") ? &kKernels : nullptr;
}

bool has_bf16_tiles() {
  static const bool tiles = has_tile_instructions();  // not asked at every call
  return tiles;
}

#else

const Bf16Kernels* bf16_kernels() { return nullptr; }
bool has_bf16_tiles() { return false; }

#endif

}  // namespace coppice::cpu
