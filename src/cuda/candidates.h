// Every way to run a product, for the tuner and the benchmark. Pure host code.
#pragma once

#include <string>
#include <vector>

#include "cuda/select.h"

namespace coppice::cuda {

/// The untuned choice first, then every other kernel configuration that can run the product, each
/// with the token group that selection gives it.
std::vector<Selection> candidates(const ProductInfo& product, const DeviceInfo& device);

/// The same configuration with other token groups; without the one it has.
std::vector<Selection> token_groups(const Selection& selection, const ProductInfo& product);

/// True if both sum in the same order, so that their results are the same bits. Tiles and groups
/// only divide the outputs; the families add up a step differently.
bool same_sums(const Selection& a, const Selection& b);

/// A name that tells the kernel configurations of a product apart, whatever the token group; what
/// the tuner's cache stores. And the same with the token group.
std::string tile_name(const Selection& selection);
std::string configuration_name(const Selection& selection);

/// Tokens of the tile that a selection works in.
int tile_tokens(const Selection& selection);

}  // namespace coppice::cuda
