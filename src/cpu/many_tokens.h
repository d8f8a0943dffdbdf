// The product for many tokens: lanes are tokens, so a weight is read once for up to 256 of them.
//
// How it is blocked (sizes in many_tokens_plan.h):
//   x is copied once into panels of up to 64 tokens, [token panel][col][pitch], zero-padded;
//   a task is a chunk of row panels times up to 256 tokens; its sums stay in L2;
//   the slots of a chunk are cut into blocks whose rows of x, for one token panel, fit in L1;
//   of every block, the weights are decoded once (to fp32, and to byte offsets of rows of x) and
//   used for all token panels.
// A sum is always taken in the order of the slots, one fused multiply-add after the other: the
// result depends neither on threads nor on blocking.
#pragma once

#include "cpu/packed_weight.h"

namespace coppice::cpu {

/// Whether `many_tokens_multiply` can address such a weight's x (up to 16 million columns).
bool many_tokens_supports(const PackedLayout& layout);

/// y = act(alpha * W x + bias). Arguments are checked already. Keeps its scratch memory (about
/// 1 KB a column, 1 MB a thread) for the next call of the same thread.
void many_tokens_multiply(const PackedWeight::Impl& weight, const Activations& x,
                          const MutableActivations& y, const Epilogue& epilogue, int threads);

}  // namespace coppice::cpu
