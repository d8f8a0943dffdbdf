// V:N:M and 2:4 products on the GPU against the dense library, in one process. See
// docs/performance/vnm.md for the protocol.
//
//   coppice_cuda_bench --pattern 128:2:8 --shape 4096x14336 --tokens 4096 --csv out.csv
//   (options may be repeated; --shape is cols x rows; --tile N forces a tile, -1 tries them all)
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <string>
#include <vector>

#include "bench/cuda/cusparselt.h"
#include "bench/cuda/dense.h"
#include "bench/random_weight.h"
#include "bench/timing.h"
#include "coppice/cuda.h"
#include "coppice/error.h"
#include "cuda/multiply.h"
#include "cuda/weight.h"

namespace coppice::bench {
namespace {

constexpr int kReplays = 7;
constexpr double kReplaySeconds = 8e-3;
constexpr std::int64_t kRotated = std::int64_t{160} << 20;

struct Options {
  std::vector<std::string> patterns;
  std::vector<std::pair<std::int64_t, std::int64_t>> shapes;  // cols, rows
  std::vector<std::int64_t> tokens;
  bool mma = false;        // the portable family too
  int group = 0;           // forced token group
  std::vector<int> tiles;  // forced; empty: the library chooses
  bool all_tiles = false, bf16 = false, token_major = false, with_fp8 = false;
  std::string csv;
};

Options parse(int argc, char** argv) {
  Options o;
  for (int i = 1; i < argc; ++i) {
    const std::string name = argv[i];
    auto value = [&] {
      if (++i == argc) throw InvalidArgument(name + " needs a value");
      return std::string(argv[i]);
    };
    if (name == "--pattern") {
      o.patterns.push_back(value());
    } else if (name == "--shape") {
      long long cols = 0, rows = 0;
      if (std::sscanf(value().c_str(), "%lldx%lld", &cols, &rows) != 2)
        throw InvalidArgument("--shape needs COLSxROWS, such as 4096x14336");
      o.shapes.emplace_back(cols, rows);
    } else if (name == "--tokens") {
      o.tokens.push_back(std::stoll(value()));
    } else if (name == "--tile") {
      const int tile = std::stoi(value());
      if (tile < 0)
        o.all_tiles = true;
      else
        o.tiles.push_back(tile);
    } else if (name == "--group") {
      o.group = std::stoi(value());
    } else if (name == "--mma") {
      o.mma = true;
    } else if (name == "--csv") {
      o.csv = value();
    } else if (name == "--bf16") {
      o.bf16 = true;
    } else if (name == "--token-major") {
      o.token_major = true;
    } else if (name == "--fp8") {
      o.with_fp8 = true;
    } else {
      throw InvalidArgument("unknown option " + name);
    }
  }
  return o;
}

// Rotated operands of one sparse product. The copies of a weight have the same content: what
// matters is that they lie elsewhere, so that L2 holds none of them.
class SparseProduct {
 public:
  SparseProduct(const SparseView& view, std::int64_t tokens, const Options& o) {
    const std::int64_t rows = view.grid->rows(), cols = view.grid->cols();
    const std::int64_t bytes = view.grid->own_bytes(view.dtype) + 2 * tokens * (rows + cols);
    const auto copies = std::max<std::int64_t>(2, (kRotated + bytes - 1) / bytes);
    const Layout layout = o.token_major ? Layout::token_major : Layout::feature_major;
    for (std::int64_t i = 0; i < copies; ++i) {
      weights_.emplace_back(view);
      x_.push_back(random_halves(static_cast<std::size_t>(cols * tokens), o.bf16,
                                 static_cast<std::uint64_t>(i)));
      y_.emplace_back(static_cast<std::size_t>(rows * tokens * 2));
      inputs_.push_back({x_.back().data(), view.dtype, tokens, cols, layout, 0});
      outputs_.push_back({y_.back().data(), view.dtype, tokens, rows, layout, 0});
    }
    workspace_bytes_ = cuda::workspace_bytes(weights_[0], inputs_[0]);
    workspace_.emplace_back(static_cast<std::size_t>(workspace_bytes_));
  }

  cuda::Selection chosen() const { return cuda::select_for(weights_[0], inputs_[0]); }

  // The choice where there is no wgmma.
  cuda::Selection portable() const {
    const cuda::PackedWeight::Impl& impl = weights_[0].impl();
    cuda::ProductInfo product = impl.product;
    cuda::DeviceInfo device = impl.device_info;
    product.tokens = inputs_[0].tokens;
    product.token_major = inputs_[0].layout == Layout::token_major;
    device.has_wgmma = false;
    return cuda::select(product, device);
  }

  // Whether a tile can be used for this weight.
  bool possible(int tile) const {
    const auto& shape = cuda::kWgmmaShapes[static_cast<std::size_t>(tile)];
    return chosen().family == cuda::Family::wgmma && (!chosen().token_major || shape.token_major);
  }

  DeviceCall call(const cuda::Selection& selection) const {
    return [this, selection](int i, cudaStream_t stream) {
      const std::size_t n = static_cast<std::size_t>(i) % weights_.size();
      cuda::multiply_by(selection, weights_[n], inputs_[n], outputs_[n], {},
                        {workspace_[0].data(), workspace_bytes_}, stream);
    };
  }

 private:
  std::vector<cuda::PackedWeight> weights_;
  std::vector<DeviceMemory> x_, y_, workspace_;
  std::vector<cuda::Matrix> inputs_;
  std::vector<cuda::MutableMatrix> outputs_;
  std::int64_t workspace_bytes_ = 0;
};

struct Baselines {
  double dense_us = 0, fp8_us = 0;
  std::string dense_name;
};

class Runner {
 public:
  explicit Runner(const Options& options) : options_(options) {
    check_cuda(cudaStreamCreate(&stream_), "cudaStreamCreate");
    if (!options.csv.empty()) {
      csv_.open(options.csv);
      csv_ << "pattern,dtype,layout,tokens,cols,rows,kernel,us,tflops,dense_us,dense,ratio,"
              "cusparselt_us,ratio_cusparselt,fp8_us\n";
    }
  }

  void run() {
    for (const auto& [cols, rows] : options_.shapes)
      for (std::int64_t tokens : options_.tokens) run_shape(cols, rows, tokens);
  }

 private:
  void run_shape(std::int64_t cols, std::int64_t rows, std::int64_t tokens) {
    DenseProduct dense({rows, cols, tokens, options_.bf16, false}, stream_);
    if (!dense.choose()) throw std::runtime_error("no dense product runs");
    ReplayedCall dense_replay(dense.call(), stream_, kReplaySeconds);
    double fp8 = 0;
    if (options_.with_fp8) {
      DenseProduct product({rows, cols, tokens, false, true}, stream_);
      if (product.choose()) fp8 = ReplayedCall(product.call(), stream_, kReplaySeconds).replay();
    }
    for (const std::string& name : options_.patterns) {
      const Pattern pattern = Pattern::parse(name);
      const SparseMatrix weight =
          random_weight(pattern, rows, cols, options_.bf16 ? Dtype::bf16 : Dtype::f16, 1);
      const SparseProduct sparse(weight.view(), tokens, options_);
      double lt = 0;
      if (pattern.is_two_four()) lt = time_cusparselt(rows, cols, tokens, dense_replay);
      std::vector<cuda::Selection> selections{sparse.chosen()};
      for (int tile = 0; tile < static_cast<int>(cuda::kWgmmaShapes.size()); ++tile) {
        const bool wanted = options_.all_tiles || std::ranges::count(options_.tiles, tile) > 0;
        if (!wanted || !sparse.possible(tile)) continue;
        selections.push_back(sparse.chosen());
        selections.back().shape = tile;
        if (options_.group > 0) selections.back().token_group = options_.group;
      }
      if (options_.mma && selections[0].family != cuda::Family::mma)
        selections.push_back(sparse.portable());
      for (const cuda::Selection& selection : selections)
        time_sparse(sparse, selection, name, {cols, rows, tokens}, dense_replay, dense.name(), lt,
                    fp8);
    }
  }

  // A B A B ... A: medians of both.
  std::pair<double, double> interleave(ReplayedCall& a, ReplayedCall& b) {
    std::vector<double> as{a.replay()}, bs;
    for (int i = 0; i < kReplays; ++i) {
      bs.push_back(b.replay());
      as.push_back(a.replay());
    }
    return {median(as), median(bs)};
  }

  double time_cusparselt(std::int64_t rows, std::int64_t cols, std::int64_t tokens,
                         ReplayedCall& dense) {
    std::string reason;
    const auto product =
        make_cusparselt({rows, cols, tokens, options_.bf16, false}, stream_, &reason);
    if (product == nullptr) {
      fmt::print(stderr, "no cuSPARSELt: {}\n", reason);
      return 0;
    }
    ReplayedCall replayed(product->call(), stream_, kReplaySeconds);
    return interleave(dense, replayed).second;
  }

  struct Shape {
    std::int64_t cols, rows, tokens;
  };
  void time_sparse(const SparseProduct& sparse, const cuda::Selection& selection,
                   const std::string& pattern, const Shape& s, ReplayedCall& dense,
                   const std::string& dense_name, double lt, double fp8) {
    ReplayedCall replayed(sparse.call(selection), stream_, kReplaySeconds);
    const auto [dense_us, us] = interleave(dense, replayed);
    const double tflops =
        2e-6 * static_cast<double>(s.cols * s.rows) * static_cast<double>(s.tokens) / us;
    const std::string kernel = cuda::selection_name(selection);
    fmt::print("{:>10} {}x{} t{:<5} {:<28} {:9.2f} us {:7.1f} TF dense {:9.2f} us ratio {:6.3f}",
               pattern, s.cols, s.rows, s.tokens, kernel, us, tflops, dense_us, dense_us / us);
    if (lt > 0) fmt::print("  cuSPARSELt {:9.2f} us ratio {:6.3f}", lt, lt / us);
    fmt::print("\n");
    std::fflush(stdout);
    if (!csv_.is_open()) return;
    csv_ << fmt::format(
        "{},{},{},{},{},{},{},{:.3f},{:.1f},{:.3f},{},{:.4f},{:.3f},{:.4f},{:.3f}\n", pattern,
        options_.bf16 ? "bf16" : "f16", options_.token_major ? "token" : "feature", s.tokens,
        s.cols, s.rows, kernel, us, tflops, dense_us, dense_name, dense_us / us, lt,
        lt > 0 ? lt / us : 0.0, fp8);
    csv_.flush();
  }

  Options options_;
  cudaStream_t stream_ = nullptr;
  std::ofstream csv_;
};

}  // namespace
}  // namespace coppice::bench

int main(int argc, char** argv) {
  try {
    coppice::bench::Runner(coppice::bench::parse(argc, argv)).run();
  } catch (const std::exception& error) {
    fmt::print(stderr, "coppice_cuda_bench: {}\n", error.what());
    return 1;
  }
}
