// Layers worked on side by side, within a number of threads and an amount of memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>

namespace coppice::cli {

/// Calls `work(i, threads)` for each i, begun in this order, several at a time: together they get
/// at most `threads` threads and need at most `bytes`, but one of them always runs. A layer gets
/// more threads where memory keeps others from running beside it. After an exception no other
/// one begins; that of the first of the layers that failed is rethrown in the end.
/// @param needs  bytes that each one takes
void run_layers(std::span<const std::uint64_t> needs, int threads, std::uint64_t bytes,
                const std::function<void(std::size_t, int)>& work);

/// Bytes that this process could still take: what the system has, or the control group it is in.
std::uint64_t available_memory();

}  // namespace coppice::cli
