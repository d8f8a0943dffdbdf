#include "long_run.h"

#include <mutex>
#include <vector>

#include "console.h"
#include "dense_copy.h"
#include "layer_queue.h"
#include "progress.h"
#include "selection.h"

namespace coppice::cli {

void check_weights(const Checkpoint& input, std::span<const LinearWeight> weights, int threads) {
  Progress progress("checking");
  std::int64_t done = 0, total = 0;
  for (const LinearWeight& weight : weights) total += dense_bytes(weight);
  for (const LinearWeight& weight : weights) {
    throw_if_cancelled();
    progress.update(done, total, weight.name);
    check_finite(weight.name, input.read(weight, threads).view(), false, threads);
    input.drop(weight);
    done += dense_bytes(weight);
  }
}

void prune_into(PruneJournal& journal, const Checkpoint& input,
                std::span<const LinearWeight> weights,
                const std::map<std::string, Pattern>& patterns, const LayerPruner& pruner,
                const LongRunLimits& limits) {
  std::vector<const LinearWeight*> left;
  for (const LinearWeight& weight : weights)
    if (!journal.has(weight)) left.push_back(&weight);
  if (left.size() < weights.size())
    note(fmt::format("going on where an earlier run stopped: {} of {} layers are finished",
                     weights.size() - left.size(), weights.size()));
  std::vector<std::uint64_t> needs;
  std::int64_t done = 0, total = 0;
  for (const LinearWeight* weight : left) {
    needs.push_back(pruner.bytes_needed(*weight));
    total += dense_bytes(*weight);
  }
  Progress progress("pruning");
  std::mutex progress_mutex;
  run_layers(needs, limits.threads, limits.bytes, [&](std::size_t i, int threads) {
    const LinearWeight& weight = *left[i];
    throw_if_cancelled();
    const DenseCopy pruned = copy_of(input.read(weight, threads).view(), threads);
    input.drop(weight);
    journal.store(pruner.prune(weight, patterns.at(weight.name), pruned.view, threads),
                  pruned.view);
    const std::lock_guard lock(progress_mutex);
    progress.update(done += dense_bytes(weight), total, weight.name);
  });
}

}  // namespace coppice::cli
