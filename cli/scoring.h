// What `coppice prune` knows about a layer beyond its weights: statistics of its inputs, and scores
// from a file.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "coppice/checkpoint.h"
#include "coppice/permutation.h"
#include "coppice/score.h"
#include "coppice/statistics.h"
#include "coppice/update.h"

namespace CLI {
class App;
}

namespace coppice::cli {

struct ScoringOptions {
  std::string method = "magnitude", stats, held_out, scores, missing = "error";
  std::optional<double> damping = {};      ///< of methods that move weights
  std::optional<int> iterations = {};      ///< of admm
  std::optional<int> refinements = {};     ///< of obs and admm
  std::optional<std::string> choice = {};  ///< of obs and fisher
};

/// Adds --method, --stats, --held-out, --scores, --missing-stats and the options of single methods.
void add_scoring(CLI::App& app, ScoringOptions& options);

/// True if the method moves the weights that stay: obs, admm, fisher.
bool moves_weights(const std::string& method);

/// ||XW - XV|| / ||XW|| on the samples of each file; nothing without a Gram matrix of the input.
struct LayerErrors {
  std::optional<double> calibration, held_out;
};

/// Its const functions may be called from several threads.
class Scoring {
 public:
  /// Opens the files and looks for every weight in them. Throws UsageError (a method without its
  /// file), FileError, or InvalidArgument naming the first weight that is absent or does not fit.
  /// @param engine what measures errors, see output_error; must outlive it
  Scoring(const ScoringOptions& options, const Checkpoint& input,
          std::span<const LinearWeight> weights, const UpdateEngine* engine = nullptr);

  /// How the weight is pruned: the method, or "magnitude" where its statistics are missing.
  const std::string& method_of(const LinearWeight& weight) const;
  /// Scores `[rows, cols]` by that method, which is not magnitude and moves no weights. `dense`
  /// must be finite. Throws InvalidArgument or FileError naming the weight.
  std::vector<float> scores(const LinearWeight& weight, const DenseView& dense, int threads) const;
  /// What --stats knows of the input of a weight that is pruned by a method that needs it.
  std::shared_ptr<const InputStatistics> statistics(const LinearWeight& weight, int threads) const;
  /// The same of its gradients.
  FisherStatistics fisher(const LinearWeight& weight, int threads) const;
  /// Weights in one of its Fisher blocks; 0 without a method that looks at them.
  std::int64_t fisher_block(const LinearWeight& weight) const;

  /// True if `errors` has something to say about the weight.
  bool measures(const LinearWeight& weight) const;
  LayerErrors errors(const LinearWeight& weight, const DenseView& before, const DenseView& after,
                     int threads) const;

  /// From now on the columns and rows of these weights come in these orders. Before any other call.
  void reorder(const std::map<std::string, Permutation>& columns,
               const std::map<std::string, Permutation>& rows);

  bool has_statistics() const { return stats_ != nullptr; }
  bool has_held_out() const { return held_out_ != nullptr; }

 private:
  // A statistics file, the input read last (q, k and v share one), and those that are in use.
  class Source {
   public:
    explicit Source(StatisticsFile opened) : file(std::move(opened)) {}
    std::shared_ptr<const InputStatistics> of(const LinearWeight& weight, int threads);
    std::optional<double> error(const LinearWeight& weight, const DenseView& before,
                                const DenseView& after, int threads, const UpdateEngine* engine);
    const StatisticsFile file;
    std::map<std::string, Permutation> columns;  // of weights that have them in another order

   private:
    std::mutex mutex_;
    std::shared_ptr<const InputStatistics> last_;
    std::map<std::string, std::weak_ptr<const InputStatistics>> in_use_;
  };

  static std::unique_ptr<Source> open(const std::string& path, StatisticsSet set,
                                      const char* option);
  bool scorable(const LinearWeight& weight) const;
  const char* needed() const;
  std::vector<float> scores_from_file(const LinearWeight& weight, int threads) const;

  const UpdateEngine* engine_;
  std::string method_, magnitude_ = "magnitude", missing_;
  std::unique_ptr<Source> stats_, held_out_;
  std::map<std::string, Permutation> rows_;  // of weights that have them in another order
  std::optional<SafetensorsFile> scores_;
};

}  // namespace coppice::cli
