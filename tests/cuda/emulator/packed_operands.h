// A packed element-, vector- or block-wise weight and its product, for tests of emulated kernels.
#pragma once

#include "cpu/random_weight.h"
#include "cuda/host_element_pack.h"
#include "operands.h"

namespace emulated {

using coppice::Dtype;
using coppice::Layout;

struct ProductCase {
  const char* pattern;
  int rows, cols, tokens;
  Layout y = Layout::feature_major;
  int tile = 0, slices = 1;
  Dtype type = Dtype::f16;
  bool biased = false;  ///< and times -0.5
  int multiprocessors = 2;
};

inline std::string describe(const ProductCase& c) {
  return std::string(c.pattern) + " " + std::to_string(c.rows) + " x " + std::to_string(c.cols) +
         ", " + std::to_string(c.tokens) + " tokens, tile " + std::to_string(c.tile) + ", slices " +
         std::to_string(c.slices);
}

/// Feature-major activations with whole boxes of 64 tokens and `x_cols` rows, those behind the
/// weight's columns zero.
class PackedProduct {
 public:
  PackedProduct(const ProductCase& c, std::int64_t (*x_cols)(const coppice::cuda::ElementLayout&))
      : c_(c),
        random_(static_cast<std::uint64_t>(c.rows * 31 + c.cols + c.tokens)),
        weight_(coppice::cpu::random_weight(random_, coppice::Pattern::parse(c.pattern), c.rows,
                                            c.cols, c.type)),
        packed_(coppice::cuda::pack_element(weight_)),
        values_(packed_.values.data(), packed_.values.size()),
        choices_(layout().in_groups() ? static_cast<const void*>(packed_.words.data())
                                      : packed_.runs.data(),
                 layout().in_groups() ? 4 * packed_.words.size() : 2 * packed_.runs.size()),
        x_stride_((c.tokens + 63) / 64 * 64),
        x_(c.type, activations(x_cols(layout()))),
        bias_(coppice::cpu::random_floats(random_, c.rows)),
        y_(c.type, c.tokens, c.rows, c.y,
           (c.y == Layout::token_major ? 8 - c.rows % 8 : 8 - c.tokens % 8) % 8) {}

  const coppice::cuda::ElementLayout& layout() const { return packed_.plan.layout; }
  coppice::cuda::ElementWeight weight() const {
    coppice::cuda::ElementWeight w;
    w.layout = layout();
    w.values = const_cast<std::byte*>(values_.data());
    w.choices = const_cast<std::byte*>(choices_.data());
    return w;
  }
  const std::byte* x() const { return x_.data(); }
  int x_stride() const { return x_stride_; }
  coppice::cuda::EpilogueArguments epilogue() {
    coppice::cuda::EpilogueArguments e;
    e.y = y_.data();
    e.y_stride = y_.stride();
    e.token_major = y_.token_major();
    e.wide = true;
    if (c_.biased) e.bias = bias_.data(), e.f32_bias = true, e.alpha = -0.5F;
    return e;
  }
  void check() const {
    std::vector<std::byte> bytes(static_cast<std::size_t>(2 * c_.rows * c_.cols));
    coppice::decompress(weight_.view(), {bytes.data(), c_.type, c_.rows, c_.cols, c_.cols});
    std::vector<float> dense(bytes.size() / 2);
    coppice::to_float(c_.type, bytes.data(), dense);
    y_.check([&](int t, int row) {
      double sum = 0;
      for (int col = 0; col < c_.cols; ++col)
        sum += double{dense[static_cast<std::size_t>(row * c_.cols + col)]} *
               x_[static_cast<std::size_t>(col * x_stride_ + t)];
      return c_.biased ? -0.5 * sum + bias_[static_cast<std::size_t>(row)] : sum;
    });
  }

 private:
  std::vector<float> activations(std::int64_t cols) {
    std::vector<float> x = coppice::cpu::random_floats(random_, cols * x_stride_);
    std::fill(x.begin() + std::int64_t{c_.cols} * x_stride_, x.end(), 0.0F);
    return x;
  }

  ProductCase c_;
  coppice::cpu::Random random_;
  coppice::SparseMatrix weight_;
  coppice::cuda::PackedElement packed_;
  Bytes values_, choices_;
  int x_stride_;
  Numbers x_;
  std::vector<float> bias_;
  Outputs y_;
};

}  // namespace emulated
