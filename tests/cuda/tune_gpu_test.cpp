// Tuning on the device: the same bits, a choice that is remembered, and no harm from its file.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "coppice/cuda_tuner.h"
#include "coppice/error.h"
#include "cuda/candidates.h"
#include "cuda/gpu.h"
#include "cuda/multiply.h"
#include "cuda/weight.h"

namespace coppice::cuda {
namespace {

using cpu::Random;

constexpr std::int64_t kRows = 512, kCols = 1024, kMostTokens = 600;

// A weight, activations for many tokens, and what comes out.
struct Case {
  explicit Case(const char* pattern, Dtype type = Dtype::bf16)
      : dtype(type),
        random(3),
        sparse(cpu::random_weight(random, Pattern::parse(pattern), kRows, kCols, dtype)),
        weight(sparse.view()),
        x(random_numbers()),
        y(kMostTokens * kRows * bytes()),
        workspace((kMostTokens + 64) * kCols * bytes()) {}

  std::size_t bytes() const { return static_cast<std::size_t>(dtype_bytes(dtype)); }
  std::vector<std::byte> random_numbers() {
    std::vector<std::byte> numbers(kMostTokens * kCols * bytes());
    from_float(dtype, cpu::random_floats(random, kMostTokens * kCols), numbers.data());
    return numbers;
  }
  Matrix input(std::int64_t tokens, Layout layout) const {
    return {x.data(), dtype,  tokens,
            kCols,    layout, layout == Layout::token_major ? kCols : kMostTokens};
  }
  std::vector<std::byte> run(const Selection& selection, std::int64_t tokens, Layout layout) const {
    const MutableMatrix out{y.data(), dtype, tokens, kRows, Layout::token_major, 0};
    expect_ok(cudaMemset(y.data(), 0xFF, kMostTokens * kRows * bytes()));
    multiply_by(selection, weight, input(tokens, layout), out, {},
                {workspace.data(), static_cast<std::int64_t>((kMostTokens + 64) * kCols * bytes())},
                nullptr);
    expect_ok(cudaDeviceSynchronize());
    std::vector<std::byte> numbers = y.read();
    numbers.resize(static_cast<std::size_t>(tokens * kRows) * bytes());
    return numbers;
  }

  Dtype dtype;
  Random random;
  SparseMatrix sparse;
  PackedWeight weight;
  GpuBytes x, y, workspace;
};

struct CacheFile {
  CacheFile() {
    std::string name = (std::filesystem::temp_directory_path() / "coppice-tune-XXXXXX").string();
    directory = mkdtemp(name.data());
    path = directory + "/tuning.json";
  }
  ~CacheFile() { std::filesystem::remove_all(directory); }
  std::string directory, path;
};

constexpr Layout kLayouts[] = {Layout::feature_major, Layout::token_major};

TEST(CudaTune, EveryCandidateGivesTheSameBits) {
  COPPICE_NEEDS_GPU();
  for (const char* pattern : {"2:4", "16:2:8", "64:2:8", "128:2:8", "256:2:16"}) {
    const Case c(pattern);
    for (Layout layout : kLayouts)
      for (std::int64_t tokens : {1, 65, 600}) {
        const ProductInfo product = product_info(c.weight, c.input(tokens, layout));
        const auto all = candidates(product, c.weight.impl().device_info);
        const auto want = c.run(all[0], tokens, layout);
        for (const Selection& s : all) {
          if (!same_sums(s, all[0])) continue;
          EXPECT_EQ(c.run(s, tokens, layout), want) << pattern << " " << configuration_name(s);
          for (const Selection& grouped : token_groups(s, product))
            EXPECT_EQ(c.run(grouped, tokens, layout), want)
                << pattern << " " << configuration_name(grouped);
        }
      }
  }
}

// Also with other tokens beside them.
TEST(CudaTune, EveryKernelOfCudaCoresGivesTheSameBits) {
  COPPICE_NEEDS_GPU();
  for (const char* pattern : {"vw32/8:32", "vw64/3:16", "vw32/5:7"}) {
    const Case c(pattern, Dtype::f32);
    for (Layout layout : kLayouts) {
      std::vector<std::byte> want;
      for (std::int64_t tokens : {600, 512, 65, 3}) {
        const ProductInfo product =
            product_info(c.weight, c.input(tokens, layout), {.batch_invariant = true});
        const auto all = candidates(product, c.weight.impl().device_info);
        if (want.empty()) want = c.run(all[0], tokens, layout);
        for (const Selection& s : all) {
          if (!same_sums(s, all[0])) continue;
          const std::vector<std::byte> got = c.run(s, tokens, layout);
          EXPECT_TRUE(std::equal(got.begin(), got.end(), want.begin()))
              << pattern << " " << configuration_name(s) << " " << tokens;
        }
      }
    }
  }
}

TEST(CudaTune, FindsAndRemembers) {
  COPPICE_NEEDS_GPU();
  const CacheFile cache;
  const TuneOptions options{.cache = cache.path,
                            .warn = [](const std::string& text) { ADD_FAILURE() << text; }};
  for (const char* pattern : {"2:4", "128:2:8", "32:2:8"}) {
    Case first(pattern), second(pattern), third(pattern);
    const std::vector<TuneTarget> targets = {{64, Layout::feature_major},
                                             {512, Layout::token_major}};
    const auto want = first.run(select_for(first.weight, first.input(500, Layout::token_major)),
                                500, Layout::token_major);
    const auto found = tune(first.weight, targets, options);
    TuneOptions only_known = options;
    only_known.measure = false;
    const auto known = tune(second.weight, targets, only_known);
    ASSERT_EQ(found.size(), 2u);
    for (std::size_t i = 0; i < 2; ++i) {
      EXPECT_FALSE(found[i].from_cache);
      EXPECT_GT(found[i].seconds, 0);
      EXPECT_LE(found[i].seconds, found[i].untuned_seconds);
      EXPECT_TRUE(known[i].from_cache);
      EXPECT_EQ(known[i].kernel, found[i].kernel);
    }
    for (const Case* tuned : {&first, &second}) {
      const Selection now = select_for(tuned->weight, tuned->input(500, Layout::token_major));
      EXPECT_EQ(tuned->run(now, 500, Layout::token_major), want) << pattern;
    }
    // The environment makes new weights look into the file.
    setenv("COPPICE_TUNE", "1", 1);
    setenv("COPPICE_TUNING_CACHE", cache.path.c_str(), 1);
    const Case informed(pattern);
    unsetenv("COPPICE_TUNE");
    unsetenv("COPPICE_TUNING_CACHE");
    EXPECT_EQ(third.weight.impl().tuned, nullptr) << "off unless asked for";
    ASSERT_NE(informed.weight.impl().tuned, nullptr);
    EXPECT_EQ(
        configuration_name(select_for(informed.weight, informed.input(64, Layout::feature_major))),
        found[0].kernel);
  }
}

TEST(CudaTune, SurvivesADamagedFile) {
  COPPICE_NEEDS_GPU();
  const CacheFile cache;
  std::ofstream(cache.path) << "{ not a cache";
  int warnings = 0;
  const TuneOptions options{.cache = cache.path, .warn = [&](const std::string&) { ++warnings; }};
  Case c("64:2:8"), d("64:2:8");
  EXPECT_FALSE(tune(c.weight, {{64}, {128}}, options)[0].from_cache);
  EXPECT_EQ(warnings, 1);
  EXPECT_TRUE(tune(d.weight, {{64}, {128}}, options)[1].from_cache);
  EXPECT_EQ(warnings, 1);
  EXPECT_THROW(tune(c.weight, {{0}}, options), InvalidArgument);
}

}  // namespace
}  // namespace coppice::cuda
