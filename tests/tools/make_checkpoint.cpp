// Generates a Hugging Face checkpoint directory with random weights, Llama-like or BERT-like.
//
//   make_checkpoint DIR --preset llama --layers 12 --hidden 4096 --intermediate 11008 --vocab 8192
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>

#include "tools/checkpoint_maker.h"

int main(int argc, char** argv) {
  coppice::test::CheckpointSpec spec;
  CLI::App app("Generates a checkpoint directory with random weights");
  app.add_option("directory", spec.directory, "Where to write it")->required();
  app.add_option("--preset", spec.preset,
                 "llama (sizes by flags), bert (the same), or minilm "
                 "(the architecture of all-MiniLM-L6-v2)")
      ->check(CLI::IsMember({"llama", "bert", "minilm"}));
  app.add_option("--layers", spec.layers)->check(CLI::Range(0, 1000));
  app.add_option("--hidden", spec.hidden)->check(CLI::Range(1, 1 << 20));
  app.add_option("--intermediate", spec.intermediate)->check(CLI::Range(1, 1 << 20));
  app.add_option("--vocab", spec.vocab)->check(CLI::Range(1, 1 << 24));
  app.add_option("--dtype", spec.dtype, "F32, F16 or BF16")
      ->check(CLI::IsMember({"F32", "F16", "BF16"}));
  app.add_option("--shard-gigabytes", spec.shard_gigabytes, "Largest file")
      ->check(CLI::PositiveNumber);
  app.add_option("--seed", spec.seed);
  CLI11_PARSE(app, argc, argv);
  if (spec.preset == "minilm") {
    spec.preset = "bert";
    spec.layers = 6, spec.hidden = 384, spec.intermediate = 1536, spec.vocab = 30522;
  }
  try {
    fmt::print("{}\n", coppice::test::write_checkpoint(spec));
  } catch (const std::exception& error) {
    fmt::print(stderr, "make_checkpoint: {}\n", error.what());
    return 1;
  }
  return 0;
}
