// Random weights that satisfy random patterns, and a plain bit-by-bit reading of docs/format.md to
// compare with.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "coppice/sparse_matrix.h"

namespace coppice::testing {

class Random {
 public:
  explicit Random(unsigned seed) : engine_(seed) {}
  int pick(int low, int high) { return std::uniform_int_distribution(low, high)(engine_); }
  bool chance(double probability) { return std::bernoulli_distribution(probability)(engine_); }
  std::uint32_t bits() { return engine_(); }
  template <typename T>
  void shuffle(std::vector<T>& list) {
    std::shuffle(list.begin(), list.end(), engine_);
  }
  /// `kept` of `of`, ascending.
  std::vector<int> choose(int kept, int of) {
    std::vector<int> all(static_cast<std::size_t>(of)), some;
    std::iota(all.begin(), all.end(), 0);
    std::sample(all.begin(), all.end(), std::back_inserter(some), kept, engine_);
    return some;
  }

 private:
  std::mt19937 engine_;
};

/// A dense weight, the mask that it is pruned by, and how it is to be compressed.
struct Case {
  Pattern pattern;
  std::int64_t rows = 0, cols = 0;
  Dtype dtype = Dtype::f32;
  CompressOptions options;
  std::vector<std::byte> dense;  ///< pruned: +0 where the mask is clear
  Mask mask;

  DenseView view() const { return {dense.data(), dtype, rows, cols, 0}; }
  std::string name() const;
};

Pattern random_pattern(Random& random);
/// Lengths that sum to `size`; empty now and then.
std::vector<std::int64_t> random_segments(Random& random, int size);

struct CaseOptions {
  bool underfull = true;    ///< some groups keep less than they may
  bool nonzero = false;     ///< no kept weight is 0
  bool permutation = true;  ///< some cases have an input permutation
  bool segments = true;     ///< some cases have row and column segments
};
/// Random bits (NaN, infinities and -0 among them) under a random mask that satisfies the pattern.
Case random_case(Random& random, const Pattern& pattern, int rows, int cols,
                 const CaseOptions& = {});
Case random_case(Random& random, const CaseOptions& = {});

/// The canonical form by definition, one bit at a time.
SparseMatrix reference_compress(const Case& c);

/// The dense matrix that decompress writes, over poison.
std::vector<std::byte> decompressed(const SparseView& sparse, int threads = 1);

std::uint32_t element(const std::vector<std::byte>& data, Dtype dtype, std::int64_t index);
void set_element(std::vector<std::byte>& data, Dtype dtype, std::int64_t index, std::uint32_t bits);

}  // namespace coppice::testing
