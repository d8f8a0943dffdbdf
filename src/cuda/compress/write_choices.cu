// Choices to bits: every thread collects one 32-bit word of an owner's stream, whatever groups it
// crosses. Owners start on bytes, so words are stored byte by byte where they are not aligned.
#include "cuda/check.h"
#include "cuda/compress/arguments.h"

namespace coppice::cuda {
namespace {

constexpr int kThreads = 256;

/// Words of chosen things, (owner, group, words); outer choices, and the rows' of plain 2:4.
struct WordSource {
  const std::uint32_t* choices;
  std::int32_t group_count, words;
  ChoiceCode code;
  bool of_row;                                 // the choice of a row, not of a vector
  static constexpr bool kOwnersFirst = false;  // neighbouring threads: words of one owner

  __device__ std::int64_t start(const ColumnGroup& g) const {
    return of_row ? g.metadata_bit : g.column_bit;
  }
  __device__ std::int64_t size(const ColumnGroup& g) const {
    const int kept = of_row ? g.kept : g.kept_blocks, of = of_row ? g.kept_cols : g.blocks;
    return code.bitmask ? of : std::int64_t{code.bits} * kept;
  }
  /// The group's bits from bit `from` on.
  __device__ std::uint32_t bits(std::int64_t owner, std::int32_t group, std::int64_t from) const {
    const std::uint32_t* choice = choices + (owner * group_count + group) * words;
    if (code.bitmask) {
      const int word = static_cast<int>(from / 32);
      const std::uint32_t next = word + 1 < words ? choice[word + 1] : 0;
      return __funnelshift_r(choice[word], next, static_cast<unsigned>(from % 32));
    }
    std::uint32_t result = 0;
    std::int64_t at = -from;
    for (int word = 0; word < words; ++word) {
      for (std::uint32_t left = choice[word]; left != 0; left &= left - 1, at += code.bits) {
        if (at <= -code.bits) continue;
        if (at >= 32) return result;
        const auto index = static_cast<std::uint32_t>(32 * word + __ffs(left) - 1);
        result |= at < 0 ? index >> -at : index << at;
      }
    }
    return result;
  }
};

/// Finished codes of rows, (group, owner): two bits for each weight kept.
struct CodeSource {
  const std::uint8_t* codes;
  std::int64_t owners;
  static constexpr bool kOwnersFirst = true;  // neighbouring threads: neighbouring owners

  __device__ std::int64_t start(const ColumnGroup& g) const { return g.metadata_bit; }
  __device__ std::int64_t size(const ColumnGroup& g) const { return 2 * g.kept; }
  __device__ std::uint32_t bits(std::int64_t owner, std::int32_t group, std::int64_t from) const {
    return std::uint32_t{codes[group * owners + owner]} >> from;
  }
};

/// The last group that starts at `bit` or before.
template <typename Source>
__device__ inline std::int32_t group_at(const ChoiceArguments& c, const Source& source,
                                        std::int64_t bit) {
  // No group has more bits than a full one, so this many groups are certain to start before.
  std::int64_t low = bit / c.full_bits, high = c.group_count - 1;
  low = low < high ? low : high;
  if (low == high || source.start(c.groups[low + 1]) > bit) return static_cast<std::int32_t>(low);
  while (low < high) {
    const std::int64_t middle = (low + high + 1) / 2;
    if (source.start(c.groups[middle]) <= bit)
      low = middle;
    else
      high = middle - 1;
  }
  return static_cast<std::int32_t>(low);
}

template <typename Source>
__global__ void __launch_bounds__(kThreads)
    write_choices_kernel(const ChoiceArguments c, const Source source) {
  const std::int64_t words = (c.owner_bytes + 3) / 4;
  for (std::int64_t i = std::int64_t{blockIdx.x} * kThreads + threadIdx.x; i < words * c.owners;
       i += std::int64_t{gridDim.x} * kThreads) {
    const std::int64_t slow = i / (Source::kOwnersFirst ? c.owners : words);
    const std::int64_t fast = i - slow * (Source::kOwnersFirst ? c.owners : words);
    const std::int64_t owner = Source::kOwnersFirst ? fast : slow;
    const std::int64_t word = Source::kOwnersFirst ? slow : fast;
    const std::int64_t first = 32 * word;
    std::uint32_t result = 0;
    for (std::int32_t g = group_at(c, source, first); g < c.group_count; ++g) {
      const ColumnGroup& group = c.groups[g];
      const std::int64_t at = source.start(group) - first;
      if (at >= 32) break;
      if (at + source.size(group) <= 0) continue;
      result |= at < 0 ? source.bits(owner, g, -at) : source.bits(owner, g, 0) << at;
    }
    std::uint8_t* to = c.out + owner * c.owner_bytes + 4 * word;
    const std::int64_t bytes = c.owner_bytes - 4 * word;
    if (bytes >= 4 && reinterpret_cast<std::uintptr_t>(to) % 4 == 0) {
      *reinterpret_cast<std::uint32_t*>(to) = result;
    } else {
      for (int b = 0; b < (bytes < 4 ? bytes : 4); ++b)
        to[b] = static_cast<std::uint8_t>(result >> (8 * b));
    }
  }
}

template <typename Source>
void launch(const ChoiceArguments& c, const Source& source, cudaStream_t stream) {
  const std::int64_t words = (c.owner_bytes + 3) / 4 * c.owners;
  if (words == 0) return;
  const std::int64_t blocks = (words + kThreads - 1) / kThreads;
  const auto grid = static_cast<unsigned>(blocks < (1 << 30) ? blocks : 1 << 30);
  write_choices_kernel<<<grid, kThreads, 0, stream>>>(c, source);
  check(cudaGetLastError(), "launching the writing of choices");
}

}  // namespace

void write_block_choices(const ChoiceArguments& c, const std::uint32_t* choices, int choice_words,
                         ChoiceCode code, bool of_row, cudaStream_t stream) {
  launch(c, WordSource{choices, c.group_count, choice_words, code, of_row}, stream);
}

void write_picks(const ChoiceArguments& c, const std::uint8_t* picks, cudaStream_t stream) {
  launch(c, CodeSource{picks, c.owners}, stream);
}

}  // namespace coppice::cuda
