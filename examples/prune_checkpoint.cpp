// Prunes the linear weights of a Hugging Face checkpoint by magnitude.
//
//   prune_checkpoint MODEL_DIR PATTERN OUT_DIR        e.g. prune_checkpoint model 64:2:8 pruned
//
// The result has the same files and opens wherever the model does.
#include <cstdio>
#include <exception>
#include <string>
#include <vector>

#include "coppice/coppice.h"

namespace {

void prune(const std::string& model, const coppice::Pattern& pattern, const std::string& out) {
  const auto checkpoint = coppice::Checkpoint::open(model);
  const std::vector<coppice::LinearWeight> weights = checkpoint.linear_weights();

  // The weights come one by one, writable, so that a checkpoint may be larger than memory. Fused
  // projections (q, k, v in one tensor) are segments of rows: no vector reaches across them.
  const auto prune_one = [&](const coppice::LinearWeight& weight,
                             const coppice::MutableDenseView& dense) {
    const coppice::MaskOptions options{.row_segments = weight.shape.row_segments,
                                       .col_segments = weight.shape.col_segments,
                                       .threads = 2};
    const coppice::MaskResult result = coppice::magnitude_mask(dense, pattern, options);
    coppice::apply_mask(dense, result.mask, options.threads);
    std::printf("%-56s %6lld x %-6lld keeps %5.1f %% of its magnitude\n", weight.name.c_str(),
                static_cast<long long>(dense.rows), static_cast<long long>(dense.cols),
                100 * result.kept_score / result.total_score);
  };
  coppice::write_dense(checkpoint, out, weights, prune_one);
  std::printf("%zu weights pruned to %s: %s\n", weights.size(), pattern.to_string().c_str(),
              pattern.describe().c_str());
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) {
    std::fprintf(stderr, "usage: prune_checkpoint MODEL_DIR PATTERN OUT_DIR\n");
    return 2;
  }
  try {
    prune(argv[1], coppice::Pattern::parse(argv[2]), argv[3]);
  } catch (const std::exception& error) {  // nothing was written then
    std::fprintf(stderr, "prune_checkpoint: %s\n", error.what());
    return 1;
  }
  return 0;
}
