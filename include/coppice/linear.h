// The product Y = act(alpha * W X + bias) of a sparse weight and activations, on the CPU.
//
//   coppice::cpu::PackedWeight weight(sparse.view());
//   coppice::cpu::multiply(weight, coppice::activations(x, tokens, cols), coppice::activations(y,
//   tokens, rows));
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "coppice/sparse_matrix.h"

namespace coppice {

/// Which index of an activation matrix is contiguous.
enum class Layout : std::uint8_t {
  token_major,    ///< [tokens, features], PyTorch's
  feature_major,  ///< [features, tokens]
};

enum class Activation : std::uint8_t { none, relu, gelu /* erf */, gelu_tanh, silu };

/// What happens to a product before it is stored.
struct Epilogue {
  float alpha = 1;
  std::span<const float> bias;  ///< empty, or [rows]: one for each output feature
  Activation activation = Activation::none;
};

/// The distance of two tokens (token-major) or of two features (feature-major) in elements, where a
/// stride of 0 means packed.
constexpr std::int64_t major_stride(Layout layout, std::int64_t stride, std::int64_t tokens,
                                    std::int64_t features) {
  return stride != 0 ? stride : layout == Layout::token_major ? features : tokens;
}

/// Activations in fp32 on the host, not owned. `stride` is the distance of two tokens (token-major)
/// or of two features (feature-major) in elements; 0 means packed.
template <typename T>
struct BasicActivations {
  T* data = nullptr;
  std::int64_t tokens = 0, features = 0;
  Layout layout = Layout::token_major;
  std::int64_t stride = 0;

  std::int64_t major_stride() const {
    return coppice::major_stride(layout, stride, tokens, features);
  }
  T& at(std::int64_t token, std::int64_t feature) const {
    return layout == Layout::token_major ? data[token * major_stride() + feature]
                                         : data[feature * major_stride() + token];
  }
};
using Activations = BasicActivations<const float>;
using MutableActivations = BasicActivations<float>;

/// The same product in double precision, straight from the canonical form: the yardstick of every
/// test. `y` may be any BasicActivations<double>; x and y must not overlap.
void reference_multiply(const SparseView& weight, const Activations& x,
                        const BasicActivations<double>& y, const Epilogue& epilogue = {});

namespace cpu {

/// A weight in the order in which the CPU kernels read it; made once, never stored. Move-only,
/// immutable, safe to share between threads.
class PackedWeight {
 public:
  /// Packs a valid canonical weight of f32, f16 or bf16. Throws InvalidArgument for other dtypes.
  explicit PackedWeight(const SparseView& weight, int threads = 1);
  PackedWeight(PackedWeight&&) noexcept;
  PackedWeight& operator=(PackedWeight&&) noexcept;
  ~PackedWeight();

  std::int64_t rows() const;
  std::int64_t cols() const;
  const Pattern& pattern() const;
  Dtype dtype() const;
  /// Bytes held.
  std::int64_t bytes() const;

  struct Impl;
  const Impl& impl() const { return *impl_; }

 private:
  std::unique_ptr<const Impl> impl_;
};

/// Y = act(alpha * W X + bias). x: [tokens, cols], y: [tokens, rows], either layout each; they must
/// not overlap. Same bits for every call with the same arguments and any thread count. Throws
/// InvalidArgument if shapes do not fit.
void multiply(const PackedWeight& weight, const Activations& x, const MutableActivations& y,
              const Epilogue& epilogue = {}, int threads = 1);

/// The same for activations of bf16, given as their bits; bias and sums are fp32, and y is rounded
/// once. A weight of bf16 is multiplied in bf16 for more than a few tokens where the processor does
/// so by AVX-512 BF16: numbers below 2^-126 count as 0 then. In every other case x is converted to
/// fp32 first. Same bits for every call with the same arguments and any thread count. Throws
/// InvalidArgument if shapes do not fit.
void multiply_bf16(const PackedWeight& weight, const BasicActivations<const std::uint16_t>& x,
                   const BasicActivations<std::uint16_t>& y, const Epilogue& epilogue = {},
                   int threads = 1);

/// Name of the kernel that `multiply` runs for such a problem on this machine, such as
/// "few-tokens/window16/bf16 (AVX3)"; with activations of bf16, that of `multiply_bf16`.
std::string kernel_name(const PackedWeight& weight, std::int64_t tokens,
                        Dtype activations = Dtype::f32);

/// The instruction set in use ("AVX3", "AVX2", "NEON", ...); COPPICE_CPU_TARGET in the environment
/// can lower it.
std::string_view target_name();

}  // namespace cpu
}  // namespace coppice
