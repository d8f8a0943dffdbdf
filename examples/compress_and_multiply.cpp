// From a dense weight in memory to a sparse product: prune, compress, pack, multiply.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <random>
#include <span>
#include <vector>

#include "coppice/coppice.h"

int main() {
  // The weight of a linear layer, [rows, cols] = [out_features, in_features], and activations,
  // [tokens, cols]. Any buffers will do: Coppice takes pointers and copies what it keeps.
  constexpr std::int64_t rows = 2048, cols = 2048, tokens = 4;
  std::vector<float> weight(rows * cols), x(tokens * cols), y(tokens * rows);
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  std::ranges::generate(weight, [&] { return normal(random); });
  std::ranges::generate(x, [&] { return normal(random); });

  // Which weights stay: of every 8 columns the best 4 for 64 rows together, of those 2 for each
  // row.
  const auto pattern = coppice::Pattern::parse("64:2:8");
  const coppice::DenseView dense = coppice::dense_view(weight, rows, cols);
  const coppice::MaskResult pruned = coppice::magnitude_mask(dense, pattern, {.threads = 2});

  // The compressed form, which is what goes to disk, and the layout that this machine reads
  // fastest.
  const coppice::SparseMatrix sparse = coppice::compress(dense, pruned.mask, pattern);
  const coppice::cpu::PackedWeight packed(sparse.view());

  // y = W x, token by token.
  const coppice::Activations input{x.data(), tokens, cols};
  const coppice::MutableActivations output{y.data(), tokens, rows};
  coppice::cpu::multiply(packed, input, output);  // warm up
  const auto start = std::chrono::steady_clock::now();
  coppice::cpu::multiply(packed, input, output);
  const std::chrono::duration<double, std::micro> time = std::chrono::steady_clock::now() - start;

  // The same in double precision, to compare with.
  std::vector<double> expected(y.size());
  coppice::reference_multiply(sparse.view(), input, {expected.data(), tokens, rows});
  double error = 0, size = 0;
  for (std::size_t i = 0; i < y.size(); ++i) {
    error = std::max(error, std::abs(y[i] - expected[i]));
    size = std::max(size, std::abs(expected[i]));
  }

  std::printf("%s: %.1f %% of the weights keep %.1f %% of the magnitude\n",
              pattern.to_string().c_str(), 100 * pattern.density(),
              100 * pruned.kept_score / pruned.total_score);
  std::printf("%.2f MB instead of %.2f MB\n", 1e-6 * static_cast<double>(sparse.own_bytes()),
              1e-6 * static_cast<double>(std::as_bytes(std::span(weight)).size()));
  std::printf("%lld tokens in %.0f us with %s, largest error %.1e of %.0f\n",
              static_cast<long long>(tokens), time.count(),
              coppice::cpu::kernel_name(packed, tokens).c_str(), error, size);
  return error < 1e-5 * size ? 0 : 1;
}
