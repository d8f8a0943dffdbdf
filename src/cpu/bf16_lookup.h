// The product in bf16 for more than a few tokens: lanes are rows, and a look-up in a register finds
// what each of them multiplies by (bf16_lookup_tiles.cpp).
//
// How it is blocked (sizes in bf16_lookup_plan.h):
//   x is copied into blocks of 512 columns, [block][token][pitch], in the order of the weight;
//   a task is a chunk of row panels times up to 256 tokens, whose sums stay in L2;
//   of every block, the weights of three panels are joined to pairs, which stay in L1, and used for
//   all tokens, 6 to 8 of them at a time with their sums in registers.
// A sum is always taken in the order of the slots: the result depends neither on threads nor on
// blocking.
#pragma once

#include "cpu/bf16_operands.h"
#include "cpu/packed_weight.h"

namespace coppice::cpu {

/// y = act(alpha * W x + bias), rounded once. Arguments are checked already, and `lookup_supports`
/// the weight, which is stored in bf16. Keeps its scratch memory (about 0.5 KB a column, 1 MB a
/// thread) for the next call of the same thread.
void lookup_multiply(const Bf16Kernels& kernels, const PackedWeight::Impl& weight,
                     const Bf16Input& x, const Bf16Output& y, const Epilogue& epilogue,
                     int threads);

}  // namespace coppice::cpu
