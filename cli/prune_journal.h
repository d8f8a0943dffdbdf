// Finished layers of a pruning run that takes long, kept until its output is complete: after an
// interruption the same command goes on from there.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "console.h"
#include "coppice/safetensors.h"
#include "core/file.h"
#include "prune_report.h"

namespace coppice::cli {

/// A directory `<output>.journal` with one file a finished layer. One process at a time has it.
/// The functions for layers may be called from several threads, each for other layers.
class PruneJournal {
 public:
  /// Makes the directory, or takes over the one of an earlier run.
  /// @param weights   all layers of the run
  /// @param settings  all that the pruned weights depend on: what an earlier run has to agree with
  /// @param restart   forget what an earlier run has left
  /// Throws InvalidArgument naming what differs from the earlier run, or that another process has
  /// the journal; FileError.
  PruneJournal(const std::filesystem::path& output, std::span<const LinearWeight> weights,
               const Json& settings, bool restart);
  PruneJournal(const PruneJournal&) = delete;
  PruneJournal& operator=(const PruneJournal&) = delete;
  /// Removes the directory if no layer is in it.
  ~PruneJournal();

  const std::filesystem::path& directory() const { return directory_; }
  /// Layers in it.
  std::size_t finished() const;
  bool has(const LinearWeight& weight) const;

  /// Brings a pruned layer to the disk. Throws FileError or Cancelled.
  void store(const PrunedLayer& layer, const DenseView& pruned);
  /// Fills in the pruned weight. @returns what `store` was given. Throws FileError.
  PrunedLayer load(const LinearWeight& weight, const Pattern& pattern,
                   const MutableDenseView& pruned) const;
  /// True if the stored layer has an order of its columns. Throws FileError.
  bool has_order(const LinearWeight& weight, const Pattern& pattern) const;

  /// The output is complete: removes the directory.
  void remove();

 private:
  const std::filesystem::path& file_of(const LinearWeight& weight) const {
    return files_.at(weight.name);
  }
  PrunedLayer read(const LinearWeight& weight, const Pattern& pattern,
                   const std::function<void(const SafetensorsFile&)>& use) const;
  void lock();
  void write_settings(const Json& settings) const;
  void check_settings(const Json& settings) const;
  void clear(bool everything) const;

  std::filesystem::path directory_;
  std::map<std::string, std::filesystem::path, std::less<>> files_;  // by weight
  FileDescriptor lock_;
};

/// Size and time of change of files, as text: differs where one was replaced.
std::string fingerprint(const std::vector<std::filesystem::path>& files);

}  // namespace coppice::cli
