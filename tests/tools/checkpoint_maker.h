// Checkpoint directories with random weights, of any size: written in pieces, never held in memory.
#pragma once

#include <cstdint>
#include <string>

namespace coppice::test {

struct CheckpointSpec {
  std::string directory;
  std::string preset = "llama";  ///< "llama" or "bert": names, config.json
  std::string dtype = "F32";     ///< F32, F16 or BF16
  std::int64_t layers = 2, hidden = 256, intermediate = 688, vocab = 1000;
  std::int64_t sharing = 1;    ///< "llama": heads of q for each head of k and v
  double shard_gigabytes = 5;  ///< more than this starts another file
  std::uint64_t seed = 1;
};

/// Writes config.json and one or several safetensors files. @returns one line that says what it is.
std::string write_checkpoint(const CheckpointSpec& spec);

}  // namespace coppice::test
