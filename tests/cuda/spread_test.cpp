// Products of V:2:M weights that are expanded to 2:4 first, against the double-precision reference
// (check_problem) and each other: every order of slots, tails, epilogues, layouts.
#include <gtest/gtest.h>

#include <cmath>
#include <memory>

#include "cuda/gpu.h"
#include "cuda/multiply.h"
#include "cuda/weight.h"

namespace coppice::cuda {
namespace {

using cpu::Random;
using cpu::random_int;

// In the order of columns, and as slots of overlapping atoms; lists of 1 to 4 bytes a quad; vectors
// that share blocks, that leave units short, and that have blocks of their own.
constexpr const char* kPatterns[] = {"16:2:8",  "32:2:8",  "8:2:12",   "2:2:16",   "24:2:32",
                                     "128:2:8", "16:2:20", "16:2:100", "64:2:256", "16:2:5",
                                     "64:2:5",  "2:2:5",   "128:2:5",  "24:2:6",   "32:2:7",
                                     "80:2:6",  "16:2:7",  "8:2:5"};

TEST(CudaSpread, EveryPattern) {
  COPPICE_NEEDS_GPU();
  Random random(20261161);
  const int count = case_count(12);
  for (int i = 0; i < count && !HasFailure(); ++i)
    for (const char* pattern : kPatterns) {
      Problem p;
      p.pattern = Pattern::parse(pattern);
      const auto coin = [&] { return random_int(random, 0, 1) == 1; };
      p.rows = random_int(random, 1, coin() ? 700 : 60);
      p.cols = coin() ? 8 * random_int(random, 1, 200) : random_int(random, 1, 1600);
      p.tokens = random_int(random, 1, coin() ? 600 : 70);
      p.dtype = coin() ? Dtype::f16 : Dtype::bf16;
      choose_operands(p, random);
      p.permuted = false;
      if (!p.col_segments.empty()) {  // of whole groups
        const std::int64_t first = p.cols / 2 / p.pattern.group * p.pattern.group;
        p.col_segments = {first, p.cols - first};
      }
      p.every_kernel_of = Family::two_four;
      check_problem(p, static_cast<std::uint64_t>(i));
    }
}

// Whole tiles in both layouts, columns that end with a step and within one.
TEST(CudaSpread, WholeTiles) {
  COPPICE_NEEDS_GPU();
  const bool thin = case_count(1000) < 1000;
  std::uint64_t seed = 1;
  for (const char* pattern : {"16:2:8", "32:2:16", "64:2:5", "16:2:6"})
    for (const std::int64_t cols : {480, 800, 1027})
      for (const Layout in : {Layout::token_major, Layout::feature_major})
        for (const Layout out : {Layout::token_major, Layout::feature_major}) {
          if (thin && seed++ % 4 != 0) continue;
          check_problem({.pattern = Pattern::parse(pattern),
                         .rows = 512,
                         .cols = cols,
                         .tokens = 512,
                         .dtype = seed % 2 == 0 ? Dtype::f16 : Dtype::bf16,
                         .x_layout = in,
                         .y_layout = out,
                         .bias = seed % 3 == 0,
                         .every_kernel_of = Family::two_four},
                        seed++);
        }
}

// A product that goes this way, whatever would be chosen.
class Forced {
 public:
  Forced(const char* pattern, std::int64_t rows, std::int64_t cols, std::int64_t tokens,
         std::uint64_t seed = 20261162)
      : rows_(rows),
        cols_(cols),
        tokens_(tokens),
        random_(seed),
        weight_(
            cpu::random_weight(random_, Pattern::parse(pattern), rows, cols, Dtype::f16).view()),
        product_(weight_.impl().product),
        values_(cpu::random_floats(random_, cols * tokens)),
        y_(static_cast<std::size_t>(rows * tokens * 2)) {
    product_.tokens = tokens;
  }
  bool can_run(Family family) const {
    return cuda::can_run(family, product_, weight_.impl().device_info);
  }
  /// Values of x, [cols][tokens].
  std::vector<float>& values() { return values_; }
  void upload() {
    std::vector<std::byte> bytes(values_.size() * 2);
    from_float(Dtype::f16, values_, bytes.data());
    x_.emplace(bytes);
  }
  void choose(Family family) {
    selection_ = select_of(family, product_, weight_.impl().device_info);
    workspace_ = std::make_shared<GpuBytes>(
        static_cast<std::size_t>(workspace_bytes_of(selection_, weight_, tokens_)));
  }
  /// Of a product that needs as much.
  void share_workspace(const Forced& other) { workspace_ = other.workspace_; }
  void poison() const {
    expect_ok(cudaMemset(y_.data(), 0xFF, static_cast<std::size_t>(rows_ * tokens_ * 2)));
    expect_ok(cudaMemset(workspace_->data(), 0xFF, workspace_->read().size()));
    expect_ok(cudaDeviceSynchronize());
  }
  void run(cudaStream_t stream) const {
    multiply_by(selection_, weight_,
                {x_->data(), Dtype::f16, tokens_, cols_, Layout::feature_major, 0},
                {y_.data(), Dtype::f16, tokens_, rows_, Layout::feature_major, 0}, {},
                {workspace_->data(), workspace_bytes_of(selection_, weight_, tokens_)}, stream);
  }
  std::vector<std::byte> result(Family family) {
    choose(family);
    poison();
    run(nullptr);
    expect_ok(cudaDeviceSynchronize());
    return y_.read();
  }
  const GpuBytes& y() const { return y_; }

 private:
  std::int64_t rows_, cols_, tokens_;
  Random random_;
  PackedWeight weight_;
  ProductInfo product_;
  std::vector<float> values_;
  GpuBytes y_;
  std::optional<GpuBytes> x_;
  std::shared_ptr<GpuBytes> workspace_;
  Selection selection_;
};

std::vector<float> floats_of(const std::vector<std::byte>& bytes) {
  std::vector<float> values(bytes.size() / 2);
  to_float(Dtype::f16, bytes.data(), values);
  return values;
}

// Thread blocks with many tiles, all multiprocessors busy, columns that end within a step. Families
// that share no kernel have to agree; and what one token tile leaves in shared memory must not
// reach another, not even times zero.
TEST(CudaSpread, LargeProductsAgreeAndTilesAreApart) {
  COPPICE_NEEDS_GPU();
  constexpr std::int64_t kRows = 4096, kCols = 2054, kTokens = 8192;
  for (const char* pattern : {"64:2:5", "16:2:5", "32:2:7", "16:2:8", "32:2:16"}) {
    Forced product(pattern, kRows, kCols, kTokens);
    if (!product.can_run(Family::two_four)) GTEST_SKIP() << "needs compute capability 9.0";
    product.upload();
    const std::vector<float> want = floats_of(product.result(Family::mma));
    const std::vector<std::byte> finite = product.result(Family::two_four);
    const std::vector<float> got = floats_of(finite);
    std::int64_t wrong = 0;
    for (std::size_t i = 0; i < want.size(); ++i)
      wrong += !(std::abs(got[i] - want[i]) <= 0.02f + 0.002f * std::abs(want[i]));
    EXPECT_EQ(wrong, 0) << pattern;
    // Every other token tile, whatever its width.
    const auto bad = [](std::size_t token) { return token / 256 % 2 == 0; };
    for (std::size_t i = 0; i < product.values().size(); ++i)
      if (bad(i % kTokens)) product.values()[i] = i % 3 == 0 ? INFINITY : NAN;
    product.upload();
    const std::vector<std::byte> again = product.result(Family::two_four);
    std::int64_t changed = 0;
    for (std::size_t i = 0; i < again.size(); ++i)
      changed += !bad(i / 2 % kTokens) && again[i] != finite[i];
    EXPECT_EQ(changed, 0) << pattern;
  }
}

TEST(CudaSpread, SameBitsInGraphs) {
  COPPICE_NEEDS_GPU();
  for (const char* pattern : {"64:2:5", "16:2:6", "16:2:8"}) {
    Forced product(pattern, 1000, 1027, 1504);
    if (!product.can_run(Family::two_four)) GTEST_SKIP() << "needs compute capability 9.0";
    product.upload();
    const std::vector<std::byte> once = product.result(Family::two_four);
    const OwnStream stream;
    cudaGraph_t graph = nullptr;
    cudaGraphExec_t executable = nullptr;
    product.poison();
    expect_ok(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal));
    product.run(stream);
    product.run(stream);  // begins while the first one ends, in the same workspace
    expect_ok(cudaStreamEndCapture(stream, &graph));
    expect_ok(cudaGraphInstantiate(&executable, graph, 0));
    for (int i = 0; i < 10; ++i) {
      product.poison();
      expect_ok(cudaGraphLaunch(executable, stream));
      expect_ok(cudaStreamSynchronize(stream));
      ASSERT_EQ(product.y().read(), once) << pattern;
    }
    cudaGraphExecDestroy(executable);
    cudaGraphDestroy(graph);
  }
}

// Every expansion begins while the product before it, of another weight, reads the same workspace.
TEST(CudaSpread, ProductsInARowShareAWorkspace) {
  COPPICE_NEEDS_GPU();
  for (const char* pattern : {"16:2:8", "64:2:5"}) {
    Forced one(pattern, 4096, 1024, 1024), other(pattern, 4096, 1024, 1024, 7);
    if (!one.can_run(Family::two_four)) GTEST_SKIP() << "needs compute capability 9.0";
    one.upload();
    other.upload();
    const std::vector<std::byte> want_one = one.result(Family::two_four),
                                 want_other = other.result(Family::two_four);
    ASSERT_NE(want_one, want_other);
    other.share_workspace(one);
    const OwnStream stream;
    for (int i = 0; i < 10; ++i) {
      one.poison();
      other.poison();
      for (int turn = 0; turn < 4; ++turn) {
        one.run(stream);
        other.run(stream);
      }
      expect_ok(cudaStreamSynchronize(stream));
      ASSERT_EQ(one.y().read(), want_one) << pattern;
      ASSERT_EQ(other.y().read(), want_other) << pattern;
    }
  }
}

TEST(CudaSpread, IsChosenForManyTokens) {
  COPPICE_NEEDS_GPU();
  for (const char* pattern : {"16:2:5", "16:2:8", "32:2:16"}) {
    Random random(3);
    const PackedWeight weight(
        cpu::random_weight(random, Pattern::parse(pattern), 4096, 4096, Dtype::f16).view());
    if (!weight.impl().device_info.has_wgmma) GTEST_SKIP() << "needs compute capability 9.0";
    for (const Layout layout : {Layout::token_major, Layout::feature_major}) {
      const std::string name = kernel_name(weight, 4096, layout);
      EXPECT_TRUE(name.starts_with("unpack 2:4")) << pattern << ": " << name;
      EXPECT_FALSE(kernel_name(weight, 8, layout).starts_with("unpack")) << pattern;
      const MultiplyOptions options{.batch_invariant = true};
      EXPECT_FALSE(kernel_name(weight, 4096, layout, options).starts_with("unpack")) << pattern;
    }
  }
}

}  // namespace
}  // namespace coppice::cuda
