#include "cuda/tuner/key.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>

namespace coppice::cuda {

std::int64_t token_bucket(std::int64_t tokens) {
  constexpr std::int64_t kLeast = 16;
  return static_cast<std::int64_t>(
      std::bit_ceil(static_cast<std::uint64_t>(std::max(tokens, kLeast))));
}

std::int64_t size_bucket(std::int64_t size) {
  constexpr std::int64_t kStep = 256;
  return (size + kStep - 1) / kStep * kStep;
}

std::string TuneKey::text() const {
  return fmt::format("{} | driver {} | coppice {} | {} {} | {} x {} | {} tokens {}", gpu, driver,
                     version, pattern.to_string(), dtype_name(dtype), size_bucket(rows),
                     size_bucket(cols), token_bucket(tokens),
                     layout == Layout::token_major ? "token-major" : "feature-major");
}

}  // namespace coppice::cuda
