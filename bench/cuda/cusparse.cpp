#include "bench/cuda/cusparse.h"

#include <fmt/format.h>

namespace coppice::bench {

bool cusparse_format(const BenchCase& c, CusparseFormat* format) {
  const Pattern& p = c.pattern;
  if (p.is_dense() || p.fits_sparse_tensor_cores()) return false;
  if (p.vec_rows == 1 && p.block_cols == 1) {
    *format = CusparseFormat::csr;
    return true;
  }
  *format = CusparseFormat::blocked_ell;
  return p.vec_rows == p.block_cols && c.rows % p.vec_rows == 0 && c.cols % p.block_cols == 0;
}

}  // namespace coppice::bench

#if __has_include(<cusparse.h>)

#include <algorithm>
#include <array>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <vector>

#include "bench/cuda/cusparse_library.h"
#include "bench/decode.h"
#include "bench/timing.h"
#include "core/parallel_for.h"
#include "format/choice_code.h"

namespace coppice::bench {
namespace {

// Baselines that lose by far: short replays, and one call of what takes longer than kSlow.
constexpr double kSeconds = 1e-3, kSlow = 15e-3;
constexpr int kReplaysOfBaseline = 3;
constexpr int kSamples = 3;
// An algorithm this much slower than another is not timed any further, nor for the next tokens.
constexpr double kHopeless = 1.5;
// Of outputs in the type. fp32 by TF32 is let pass: its error is told.
constexpr double kError16 = 5e-3, kError32 = 2e-3;

cudaDataType type_of(Dtype dtype) {
  return dtype == Dtype::f32 ? CUDA_R_32F : dtype == Dtype::bf16 ? CUDA_R_16BF : CUDA_R_16F;
}

DeviceMemory upload(const std::int32_t* host, std::int64_t count) {
  const auto bytes = static_cast<std::size_t>(count) * sizeof *host;
  DeviceMemory memory(bytes);
  check_cuda(cudaMemcpy(memory.data(), host, bytes, cudaMemcpyHostToDevice), "copying indices");
  return memory;
}

// Copies of one array behind each other.
class Copies {
 public:
  Copies(const std::byte* device, std::size_t bytes, std::size_t count)
      : step_((bytes + kAlignment - 1) / kAlignment * kAlignment), memory_(step_ * count) {
    for (std::size_t i = 0; i < count; ++i)
      check_cuda(
          cudaMemcpyAsync((*this)[i], device, bytes, cudaMemcpyDeviceToDevice, cudaStreamLegacy),
          "copying a weight");
    check_cuda(cudaStreamSynchronize(cudaStreamLegacy), "copying a weight");
  }
  std::byte* operator[](std::size_t i) const { return memory_.data() + i * step_; }

 private:
  static constexpr std::size_t kAlignment = 256;
  std::size_t step_;
  DeviceMemory memory_;
};

// Columns of every row (CSR), or block columns of every row of blocks, in the order of the values.
// `block` is 1 or the side of a block.
DeviceMemory indices_of(const SparseMatrix& matrix, std::int64_t block) {
  const std::int64_t kept = matrix.grid->kept() / block, count = matrix.rows() / block * kept;
  // Not cleared: hundreds of megabytes, whose pages the threads touch first.
  const auto indices =
      std::make_unique_for_overwrite<std::int32_t[]>(static_cast<std::size_t>(count));
  const auto vectors = matrix.grid->vectors();
  parallel_ranges(
      std::ssize(vectors), available_threads(), [&](std::int64_t first, std::int64_t end, int) {
        StoredColumns stored(matrix.view());
        for (std::int64_t v = first; v < end; ++v) {
          stored.seek(v);
          const std::int64_t row = vectors[static_cast<std::size_t>(v)].row;
          const auto columns = stored.row(row);
          auto* out = indices.get() + row / block * kept;
          for (std::int64_t i = 0; i < kept; ++i)
            out[i] =
                columns[static_cast<std::size_t>(i * block)] / static_cast<std::int32_t>(block);
        }
      });
  return upload(indices.get(), count);
}

// One way to run a product. Matrix-vector and matrix-matrix algorithms have enumerations of their
// own.
struct Algorithm {
  const char* name;
  bool vector;
  int number;
};
constexpr std::array kCsrMatrix = {Algorithm{"SpMM default", false, CUSPARSE_SPMM_ALG_DEFAULT},
                                   Algorithm{"SpMM CSR_ALG2", false, CUSPARSE_SPMM_CSR_ALG2}};
constexpr std::array kCsrVector = {Algorithm{"SpMV default", true, CUSPARSE_SPMV_ALG_DEFAULT},
                                   Algorithm{"SpMV CSR_ALG2", true, CUSPARSE_SPMV_CSR_ALG2}};
constexpr std::array kBlockedEll = {
    Algorithm{"SpMM BLOCKED_ELL_ALG1", false, CUSPARSE_SPMM_BLOCKED_ELL_ALG1}};

std::span<const Algorithm> algorithms(CusparseFormat format, std::int64_t tokens) {
  if (format == CusparseFormat::blocked_ell) return kBlockedEll;
  return tokens == 1 ? std::span<const Algorithm>(kCsrVector) : kCsrMatrix;
}

class Weight final : public CusparseWeight {
 public:
  Weight(const CusparseLibrary& lib, const RotatedWeight& weight, CusparseFormat format);
  CusparseTime time(const RotatedActivations& activations, const BenchCase& c,
                    cudaStream_t stream) const override;

  const CusparseLibrary& lib;
  std::size_t count() const { return count_; }
  std::int64_t bytes() const { return bytes_; }
  cusparseSpMatDescr_t describe(std::size_t i) const;

 private:
  const SparseMatrix& matrix_;
  CusparseFormat format_;
  std::int64_t bytes_ = 0;
  std::size_t count_ = 0;
  std::optional<Copies> values_, indices_, offsets_;
  mutable std::vector<const Algorithm*> hopeless_;  // for this weight
};

Weight::Weight(const CusparseLibrary& library, const RotatedWeight& weight, CusparseFormat format)
    : lib(library), matrix_(weight.matrix()), format_(format) {
  const std::int64_t block = format == CusparseFormat::csr ? 1 : matrix_.pattern().block_cols;
  const std::int64_t kept = matrix_.grid->kept();
  std::vector<std::int32_t> offsets(static_cast<std::size_t>(matrix_.rows() + 1));
  for (std::size_t r = 0; r < offsets.size(); ++r)
    offsets[r] = static_cast<std::int32_t>(static_cast<std::int64_t>(r) * kept);
  const DeviceMemory index = indices_of(matrix_, block),
                     offset = upload(offsets.data(), std::ssize(offsets));
  const std::int64_t index_bytes = 4 * (matrix_.rows() / block) * (kept / block);
  bytes_ = std::ssize(matrix_.values) + index_bytes;
  count_ = static_cast<std::size_t>(rotated_copies(bytes_));
  values_.emplace(weight.device_values(), matrix_.values.size(), count_);
  indices_.emplace(index.data(), static_cast<std::size_t>(index_bytes), count_);
  offsets_.emplace(offset.data(), 4 * offsets.size(), count_);
}

cusparseSpMatDescr_t Weight::describe(std::size_t i) const {
  const std::int64_t rows = matrix_.rows(), cols = matrix_.cols(), kept = matrix_.grid->kept();
  const cudaDataType type = type_of(matrix_.dtype);
  cusparseSpMatDescr_t matrix = nullptr;
  if (format_ == CusparseFormat::csr)
    check_sparse(lib.CreateCsr(&matrix, rows, cols, rows * kept, (*offsets_)[i], (*indices_)[i],
                               (*values_)[i], CUSPARSE_INDEX_32I, CUSPARSE_INDEX_32I,
                               CUSPARSE_INDEX_BASE_ZERO, type),
                 "CSR weight");
  else
    check_sparse(lib.CreateBlockedEll(&matrix, rows, cols, matrix_.pattern().block_cols, kept,
                                      (*indices_)[i], (*values_)[i], CUSPARSE_INDEX_32I,
                                      CUSPARSE_INDEX_BASE_ZERO, type),
                 "blocked-ELL weight");
  return matrix;
}

// Descriptors and the buffer of one product.
struct Turn {
  explicit Turn(const CusparseLibrary& library) : lib(library) {}
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;
  ~Turn() {
    if (weight != nullptr) lib.DestroySpMat(weight);
    if (x != nullptr) lib.DestroyDnMat(x);
    if (y != nullptr) lib.DestroyDnMat(y);
    if (x_vector != nullptr) lib.DestroyDnVec(x_vector);
    if (y_vector != nullptr) lib.DestroyDnVec(y_vector);
  }

  const CusparseLibrary& lib;
  cusparseSpMatDescr_t weight = nullptr;
  cusparseDnMatDescr_t x = nullptr, y = nullptr;                // of matrix-matrix algorithms
  cusparseDnVecDescr_t x_vector = nullptr, y_vector = nullptr;  // of matrix-vector ones
  std::optional<DeviceMemory> buffer;
};

// One algorithm's products, rotated.
class Product {
 public:
  Product(const Weight& weight, const RotatedActivations& activations, const BenchCase& c,
          const Algorithm& algorithm)
      : lib_(weight.lib), algorithm_(algorithm) {
    const std::int64_t bytes = weight.bytes() + traffic(c).activations + traffic(c).outputs;
    const std::size_t copies = std::min(
        {weight.count(), activations.count(), static_cast<std::size_t>(rotated_copies(bytes))});
    for (std::size_t i = 0; i < copies; ++i) {
      Turn& turn = *turns_.emplace_back(std::make_unique<Turn>(lib_));
      turn.weight = weight.describe(i);
      describe(turn, activations.input(i), activations.output(i));
      prepare(turn);
    }
  }

  DeviceCall call() const {
    return [this](int i, cudaStream_t stream) {
      check_sparse(lib_.SetStream(lib_.handle, stream), "stream");
      run(*turns_[static_cast<std::size_t>(i) % turns_.size()]);
    };
  }

 private:
  void describe(Turn& t, const cuda::Matrix& x, const cuda::MutableMatrix& y) const {
    const cudaDataType type = type_of(x.dtype);
    auto* from = const_cast<void*>(x.data);
    if (algorithm_.vector) {
      check_sparse(lib_.CreateDnVec(&t.x_vector, x.features, from, type), "activations");
      check_sparse(lib_.CreateDnVec(&t.y_vector, y.features, y.data, type), "output");
      return;
    }
    const auto order = x.layout == Layout::feature_major ? CUSPARSE_ORDER_ROW : CUSPARSE_ORDER_COL;
    check_sparse(lib_.CreateDnMat(&t.x, x.features, x.tokens, x.major_stride(), from, type, order),
                 "activations");
    check_sparse(
        lib_.CreateDnMat(&t.y, y.features, y.tokens, y.major_stride(), y.data, type, order),
        "output");
  }

  void prepare(Turn& t) const {
    std::size_t bytes = 0;
    if (algorithm_.vector)
      check_sparse(lib_.SpMV_bufferSize(lib_.handle, kPlain, &kOne, t.weight, t.x_vector, &kZero,
                                        t.y_vector, CUDA_R_32F, vector_algorithm(), &bytes),
                   "buffer");
    else
      check_sparse(lib_.SpMM_bufferSize(lib_.handle, kPlain, kPlain, &kOne, t.weight, t.x, &kZero,
                                        t.y, CUDA_R_32F, matrix_algorithm(), &bytes),
                   "buffer");
    t.buffer.emplace(bytes);
    if (algorithm_.vector)
      check_sparse(
          lib_.SpMV_preprocess(lib_.handle, kPlain, &kOne, t.weight, t.x_vector, &kZero, t.y_vector,
                               CUDA_R_32F, vector_algorithm(), t.buffer->data()),
          "preparation");
    else
      check_sparse(lib_.SpMM_preprocess(lib_.handle, kPlain, kPlain, &kOne, t.weight, t.x, &kZero,
                                        t.y, CUDA_R_32F, matrix_algorithm(), t.buffer->data()),
                   "preparation");
  }

  void run(const Turn& t) const {
    if (algorithm_.vector)
      check_sparse(lib_.SpMV(lib_.handle, kPlain, &kOne, t.weight, t.x_vector, &kZero, t.y_vector,
                             CUDA_R_32F, vector_algorithm(), t.buffer->data()),
                   algorithm_.name);
    else
      check_sparse(lib_.SpMM(lib_.handle, kPlain, kPlain, &kOne, t.weight, t.x, &kZero, t.y,
                             CUDA_R_32F, matrix_algorithm(), t.buffer->data()),
                   algorithm_.name);
  }

  cusparseSpMVAlg_t vector_algorithm() const {
    return static_cast<cusparseSpMVAlg_t>(algorithm_.number);
  }
  cusparseSpMMAlg_t matrix_algorithm() const {
    return static_cast<cusparseSpMMAlg_t>(algorithm_.number);
  }

  static constexpr float kOne = 1, kZero = 0;
  static constexpr auto kPlain = CUSPARSE_OPERATION_NON_TRANSPOSE;
  const CusparseLibrary& lib_;
  Algorithm algorithm_;
  std::vector<std::unique_ptr<Turn>> turns_;
};

// Sets error, seconds and replays. The first call, which may load a kernel, is the checked one.
void check_and_time(const Product& product, const SparseMatrix& matrix,
                    const RotatedActivations& activations, double best, cudaStream_t stream,
                    CusparseTime& time) {
  time.error = activations.error(matrix, product.call(), kSamples, stream);
  if (!(time.error <= (matrix.dtype == Dtype::f32 ? kError32 : kError16)))
    throw std::runtime_error(fmt::format("{} is wrong, error {:.1e}", time.name, time.error));
  time.seconds = seconds_of_call(product.call(), 1, stream);
  time.replays = 1;
  if (time.seconds > kSlow || (best > 0 && time.seconds > kHopeless * best)) return;
  ReplayedCall replayed(product.call(), stream, kSeconds);
  std::vector<double> seconds;
  for (int i = 0; i < kReplaysOfBaseline; ++i) seconds.push_back(replayed.replay());
  time.seconds = median(seconds);
  time.replays = kReplaysOfBaseline;
}

CusparseTime Weight::time(const RotatedActivations& activations, const BenchCase& c,
                          cudaStream_t stream) const {
  CusparseTime best;
  for (const Algorithm& algorithm : algorithms(format_, c.tokens)) {
    if (std::ranges::find(hopeless_, &algorithm) != hopeless_.end()) continue;
    CusparseTime time;
    time.name = algorithm.name;
    try {
      const Product product(*this, activations, c, algorithm);
      check_and_time(product, matrix_, activations, best.seconds, stream, time);
    } catch (const std::runtime_error& error) {
      time = {};
      time.name = fmt::format("none: {}", error.what());
    }
    if (best.seconds > 0 && time.seconds > kHopeless * best.seconds)
      hopeless_.push_back(&algorithm);
    const bool faster = time.seconds > 0 && (best.seconds == 0 || time.seconds < best.seconds);
    if (faster || best.name.empty()) best = time;
  }
  return best;
}

}  // namespace

std::unique_ptr<CusparseWeight> make_cusparse(const RotatedWeight& weight, CusparseFormat format,
                                              std::string* reason) {
  const CusparseLibrary* library = CusparseLibrary::load();
  if (library == nullptr) {
    *reason = "libcusparse.so.12 not found (COPPICE_CUSPARSE can name the file)";
    return nullptr;
  }
  return std::make_unique<Weight>(*library, weight, format);
}

}  // namespace coppice::bench

#else

namespace coppice::bench {

std::unique_ptr<CusparseWeight> make_cusparse(const RotatedWeight&, CusparseFormat,
                                              std::string* reason) {
  *reason = "built without cusparse.h";
  return nullptr;
}

}  // namespace coppice::bench

#endif
