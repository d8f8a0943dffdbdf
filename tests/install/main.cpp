#include <coppice/coppice.h>

#include <cstdio>
#include <vector>

int main() {
  constexpr int kRows = 64, kCols = 256, kTokens = 2;
  std::vector<float> weight(kRows * kCols), x(kTokens * kCols), y(kTokens * kRows);
  for (std::size_t i = 0; i < weight.size(); ++i)
    weight[i] = static_cast<float>((i * 2654435761u) % 1000) - 500;
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i % 7) - 3;

  const auto dense = coppice::dense_view(weight, kRows, kCols);
  const auto pattern = coppice::Pattern::parse("2:4");
  const auto mask = coppice::magnitude_mask(dense, pattern).mask;
  const auto sparse = coppice::compress(dense, mask, pattern);
  const coppice::cpu::PackedWeight packed(sparse.view());
  coppice::cpu::multiply(packed, {x.data(), kTokens, kCols}, {y.data(), kTokens, kRows});

  double error = 0;
  for (int t = 0; t < kTokens; ++t)
    for (int r = 0; r < kRows; ++r) {
      double sum = 0;
      for (int c = 0; c < kCols; ++c)
        if (mask.get(r, c)) sum += static_cast<double>(weight[r * kCols + c]) * x[t * kCols + c];
      error += (sum - y[t * kRows + r]) * (sum - y[t * kRows + r]);
    }
  std::printf("consumer: %s, squared error %g\n", pattern.to_string().c_str(), error);
  return error < 1 ? 0 : 1;
}
