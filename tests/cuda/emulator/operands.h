// What the tests of emulated kernels share: aligned operands, and outputs compared with sums in
// double precision.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <vector>

#include "coppice/dtype.h"
#include "coppice/linear.h"

namespace emulated {

/// Bytes on 256 bytes.
class Bytes {
 public:
  explicit Bytes(std::size_t bytes)
      : data_(static_cast<std::byte*>(std::aligned_alloc(256, (bytes + 511) / 256 * 256)),
              &std::free) {}
  Bytes(const void* from, std::size_t bytes) : Bytes(bytes) {
    std::memcpy(data_.get(), from, bytes);
  }
  std::byte* data() { return data_.get(); }
  const std::byte* data() const { return data_.get(); }

 private:
  std::unique_ptr<std::byte, void (*)(void*)> data_;
};

/// Numbers of a type on 256 bytes, and what they are.
class Numbers {
 public:
  Numbers(coppice::Dtype type, std::vector<float> values)
      : values_(std::move(values)),
        data_(values_.size() * static_cast<std::size_t>(coppice::dtype_bytes(type))) {
    coppice::from_float(type, values_, data_.data());
    coppice::to_float(type, data_.data(), values_);
  }
  const std::byte* data() const { return data_.data(); }
  float operator[](std::size_t i) const { return values_[i]; }

 private:
  std::vector<float> values_;
  Bytes data_;
};

/// A matrix of 16-bit outputs [tokens, features] in either layout, poisoned, with room behind it.
class Outputs {
 public:
  Outputs(coppice::Dtype type, int tokens, int features, coppice::Layout layout, int extra)
      : type_(type),
        tokens_(tokens),
        features_(features),
        token_major_(layout == coppice::Layout::token_major),
        stride_((token_major_ ? features : tokens) + extra),
        count_(static_cast<std::size_t>((token_major_ ? tokens : features) * stride_) + kBehind),
        bytes_(2 * count_) {
    std::memset(bytes_.data(), 0xFF, 2 * count_);
  }

  void* data() { return bytes_.data(); }
  int stride() const { return stride_; }
  bool token_major() const { return token_major_; }
  std::int64_t count() const { return static_cast<std::int64_t>(count_); }
  std::size_t index(int token, int feature) const {
    return static_cast<std::size_t>(token_major_ ? token * stride_ + feature
                                                 : feature * stride_ + token);
  }

  /// Compares all of them with `want(token, feature)`; nothing else may have been written.
  void check(const std::function<double(int, int)>& want) const {
    std::vector<float> got(count_);
    coppice::to_float(type_, bytes_.data(), got);
    std::vector<bool> inside(count_);
    double error = 0, norm = 0;
    for (int t = 0; t < tokens_; ++t)
      for (int f = 0; f < features_; ++f) {
        const std::size_t at = index(t, f);
        const double sum = want(t, f);
        error += std::pow(got[at] - sum, 2);
        norm += sum * sum;
        inside[at] = true;
      }
    EXPECT_LE(std::sqrt(error / norm), type_ == coppice::Dtype::f16 ? 5e-4 : 4e-3);
    for (std::size_t i = 0; i < count_; ++i)
      if (!inside[i])
        ASSERT_TRUE(bytes_.data()[2 * i] == std::byte{0xFF} &&
                    bytes_.data()[2 * i + 1] == std::byte{0xFF})
            << "written beside the outputs, at element " << i;
  }

 private:
  static constexpr int kBehind = 2048;
  coppice::Dtype type_;
  int tokens_, features_;
  bool token_major_;
  int stride_;
  std::size_t count_;
  Bytes bytes_;
};

}  // namespace emulated
