// The product Y = act(alpha * W X + bias) + residual of a sparse weight and activations on an
// NVIDIA GPU (compute capability 8.0 and later): 2:4 and V:N:M on sparse tensor cores, any other
// N:M, vector-wise and block-wise weights by kernels made for few tokens.
//
//   coppice::cuda::PackedWeight weight(sparse.view());   // once, at load time; cuda_compress.h:
//   from
//                                                        // a dense weight in device memory
//   void* workspace = ...;                                             // weight-independent: any
//   coppice::cuda::multiply(weight, x, y, {}, {workspace, bytes}, stream);  // device memory
//
// Nothing here includes a CUDA header: a stream is the runtime's cudaStream_t by its real name.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "coppice/linear.h"
#include "coppice/sparse_matrix.h"

struct CUstream_st;

namespace coppice::cuda {

/// cudaStream_t; null is the default stream.
using Stream = CUstream_st*;

/// Devices that this library can multiply on (compute capability 8.0 or later); 0 without a driver.
int device_count();

/// True if a PackedWeight can be made of weights of this pattern and dtype.
bool can_multiply(const Pattern& pattern, Dtype dtype);

/// SparseView in device memory: the canonical arrays of one weight (docs/format.md), not owned.
struct SparseDeviceView {
  std::shared_ptr<const Grid> grid;
  Dtype dtype = Dtype::f16;
  const void* values = nullptr;    ///< grid->values_bytes(dtype); 16-byte aligned is fastest
  const void* columns = nullptr;   ///< grid->columns_bytes(); may be null if that is 0
  const void* metadata = nullptr;  ///< grid->metadata_bytes(); may be null if that is 0
  const std::uint32_t* input_permutation = nullptr;  ///< null, or [grid->cols()]
};

/// Gives memory of the current device that starts on 256 bytes and outlives its weight, such as
/// that of a framework's own allocator. Called once.
using Allocator = std::function<void*(std::int64_t bytes)>;

/// A weight in device memory, in the order in which the kernels read it. Move-only; safe to share
/// between threads and streams as long as nobody calls `repack`.
class PackedWeight {
 public:
  /// Packs a valid canonical weight for its kernels. f16, bf16: 2:4, or 2 of 4 in chosen columns
  /// (V:2:M), for sparse tensor cores. f16, bf16, f32: every other N:M, vector-wise and block-wise
  /// pattern, for kernels of few tokens, of many where there are such, and to be expanded in the
  /// workspace for many: to 2:4, or dense for cuBLASLt where that is installed (cuda_libraries.h).
  /// Copies the arrays to the current device, where they are for the time of the call beside the
  /// packed ones, and packs them there. Returns when that is done. Device memory: own bytes and 2 %
  /// (blocks of few values: up to 6 %; a weight of few columns is padded to groups of 4 and 16
  /// bytes). Throws InvalidArgument for other patterns or dtypes (`can_multiply`) or more than
  /// 65536 columns, DeviceError if the device cannot be used.
  explicit PackedWeight(const SparseView& weight);

  /// The same for arrays in memory of the current device. They must be valid (those of a
  /// MagnitudeCompressor are); they are read in the order of `stream`, which is not waited for, and
  /// not needed afterwards. Allocates, by `allocate` if there is one; products on `stream` can
  /// follow at once.
  explicit PackedWeight(const SparseDeviceView& weight, Stream stream = nullptr,
                        const Allocator& allocate = {});

  /// A weight over `bytes()` of memory of the current device that hold it already: those that
  /// `allocate` gave to a weight of the same grid, dtype and kind of permutation, or a copy. They
  /// outlive it. Nothing of them is checked or changed.
  static PackedWeight over(std::shared_ptr<const Grid> grid, Dtype dtype, bool permuted,
                           void* memory);

  PackedWeight(PackedWeight&&) noexcept;
  PackedWeight& operator=(PackedWeight&&) noexcept;
  ~PackedWeight();

  /// Packs other arrays of the same grid, dtype and kind of permutation (some or none) in the place
  /// of these. Enqueued on `stream` of the weight's device: no product may be under way on another.
  /// Allocates nothing, does not synchronise, can be captured in a graph. Throws InvalidArgument if
  /// something does not fit, DeviceError if a launch fails.
  void repack(const SparseDeviceView& weight, Stream stream = nullptr);

  std::int64_t rows() const;
  std::int64_t cols() const;
  const Pattern& pattern() const;
  Dtype dtype() const;
  /// The device that holds it.
  int device() const;
  /// Bytes of device memory held.
  std::int64_t bytes() const;

  struct Impl;
  const Impl& impl() const { return *impl_; }

 private:
  explicit PackedWeight(std::unique_ptr<const Impl> impl);
  std::unique_ptr<const Impl> impl_;
};

/// Activations in device memory, not owned. `stride` is the distance of two tokens (token-major) or
/// of two features (feature-major) in elements; 0 means packed. Rows that start on 16 bytes are
/// read in place; others cost a copy through the workspace.
template <typename T>
struct BasicMatrix {
  T* data = nullptr;
  Dtype dtype = Dtype::f16;
  std::int64_t tokens = 0, features = 0;
  Layout layout = Layout::feature_major;
  std::int64_t stride = 0;

  std::int64_t major_stride() const {
    return coppice::major_stride(layout, stride, tokens, features);
  }
};
using Matrix = BasicMatrix<const void>;
using MutableMatrix = BasicMatrix<void>;

/// What happens to a product before it is stored: y = act(alpha * w x + bias) + residual, or y =
/// act(alpha * w x + bias) * factor, in fp32.
struct Epilogue {
  float alpha = 1;
  const void* bias = nullptr;     ///< device memory, [rows], or null
  Dtype bias_dtype = Dtype::f32;  ///< f32, or the dtype of the weight
  Activation activation = Activation::none;
  /// Null, or a matrix of the shape, dtype, layout and stride of y; may be y itself. Not both.
  const void* residual = nullptr;
  const void* factor = nullptr;
};

/// Device memory lent to one call; it must not be in use by another stream at the time.
struct Workspace {
  void* data = nullptr;  ///< 256-byte aligned
  std::int64_t bytes = 0;
};

/// By what 32-bit weights are multiplied for many tokens.
enum class F32Products : std::uint8_t {
  automatic,   ///< with the error of fp32, by CUDA cores or tensor cores, whichever are faster
  cuda_cores,  ///< in fp32 all through
  tf32,        ///< tensor cores, weights and activations rounded to 10 bits behind the point
};

/// How a call chooses its kernel; the same for a product and for what it asks before
/// (`workspace_bytes`).
struct MultiplyOptions {
  /// Never look at the number of tokens: a token's result is then the same bits whatever tokens
  /// stand beside it, from one to a whole prefill. Otherwise different numbers of tokens may be
  /// multiplied by kernels that add up in another order (equal within fp32 rounding); a call with
  /// the same arguments gives the same bits either way.
  bool batch_invariant = false;
  /// Patterns and numbers of tokens without such kernels are multiplied in fp32.
  F32Products f32_products = F32Products::automatic;
};

/// Whether `multiply` on the current device reads aligned activations of this layout as they lie,
/// rather than a copy in the workspace in the other layout. For whoever makes them and can choose.
/// `permuted`: the weight has an input permutation. Throws InvalidArgument for weights that no
/// PackedWeight can be made of, DeviceError without a device.
bool reads_in_place(const Grid& grid, Dtype dtype, bool permuted, std::int64_t tokens,
                    Layout layout);

/// Bytes that `multiply` needs for such operands; 0 where x and the weight are read in place.
std::int64_t workspace_bytes(const PackedWeight& weight, const Matrix& x,
                             const MultiplyOptions& options = {});

/// Y = act(alpha * W X + bias) + residual (or * factor), enqueued on `stream` of the weight's
/// device. x: [tokens, cols] of the weight's dtype; y: [tokens, rows] of the weight's dtype or f32;
/// either layout each; they must not overlap. Sums in fp32. Allocates nothing, does not
/// synchronise, can be captured in a graph; same bits for every call with the same arguments, and
/// with `options.batch_invariant` for a token whatever tokens stand beside it. Throws
/// InvalidArgument if something does not fit, DeviceError if the launch fails.
void multiply(const PackedWeight& weight, const Matrix& x, const MutableMatrix& y,
              const Epilogue& epilogue = {}, const Workspace& workspace = {},
              Stream stream = nullptr, const MultiplyOptions& options = {});

/// Bytes that `multiply_gated` needs.
std::int64_t gated_workspace_bytes(const PackedWeight& gate, const PackedWeight& up,
                                   const Matrix& x, const MultiplyOptions& options = {});

/// The first half of a gated MLP: Y = act(alpha Wg X + bias) * act(alpha Wu X + bias), the first
/// factor with `gate_epilogue` (SwiGLU: Activation::silu), the second with `up_epilogue`; neither
/// has a residual or a factor. Weights of equal shape, dtype and device, of any patterns; x is
/// brought into the kernels' layout once. Two launches: between them the first factor is in y,
/// rounded to its dtype. All else as in `multiply`.
void multiply_gated(const PackedWeight& gate, const PackedWeight& up, const Matrix& x,
                    const MutableMatrix& y, const Epilogue& gate_epilogue,
                    const Epilogue& up_epilogue = {}, const Workspace& workspace = {},
                    Stream stream = nullptr, const MultiplyOptions& options = {});

/// One weight's part of `multiply_many`, with the meaning that these have for `multiply`.
struct Product {
  const PackedWeight* weight = nullptr;
  MutableMatrix y;
  Epilogue epilogue;
};

/// Bytes that `multiply_many` needs.
std::int64_t many_workspace_bytes(std::span<const Product> products, const Matrix& x,
                                  const MultiplyOptions& options = {});

/// Several products of the same activations (q, k and v; gate and up; experts that share a token),
/// each with an output and an epilogue of its own. Weights of any shapes with `x.features` columns,
/// on one device. For few tokens, up to four weights of one kind (2:4, or equal M and V both at
/// least 64, 32 to 63, or less) share a launch; others are multiplied one after the other. A shared
/// launch may add up in another order than `multiply` (equal within fp32 rounding); with
/// `options.batch_invariant` the bits are those of `multiply`. All else as in `multiply`; outputs
/// must not overlap.
///
///   const Product products[] = {{&q, q_out, {}}, {&k, k_out, {}}, {&v, v_out, {}}};
///   multiply_many(products, x, {workspace, bytes}, stream);
void multiply_many(std::span<const Product> products, const Matrix& x,
                   const Workspace& workspace = {}, Stream stream = nullptr,
                   const MultiplyOptions& options = {});

/// Copies activations of f16, bf16 or f32 into the other layout, on `stream` of the current device.
/// At the rate of a copy where the rows of both sides start on 16 bytes. The two must not overlap.
/// Throws InvalidArgument if something does not fit, DeviceError if the launch fails.
void transpose(const Matrix& from, const MutableMatrix& to, Stream stream = nullptr);

/// Name of the kernel that `multiply` runs for such a problem, such as "wgmma 128x256".
std::string kernel_name(const PackedWeight& weight, std::int64_t tokens,
                        Layout layout = Layout::feature_major, const MultiplyOptions& options = {});

}  // namespace coppice::cuda
