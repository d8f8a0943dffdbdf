// The machine's streaming-read bandwidth: the roof of every memory-bound kernel.
#pragma once

#include <cstdint>

namespace coppice::bench {

/// Bytes of the last-level cache, 32 MiB if the system does not tell.
std::int64_t last_level_cache_bytes();

/// Bytes per second at which `threads` threads read memory that no cache holds: the median of nine
/// sweeps over a buffer of at least eight times the last-level cache.
double streaming_read_bandwidth(int threads);

}  // namespace coppice::bench
