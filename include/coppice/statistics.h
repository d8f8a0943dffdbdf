// What a calibration run knows about a model: for every input of linear layers the Gram matrix
// X^T X and the sums of squares, for single weights sums of gradient products. Gathered here, or by
// python -m coppice.calibrate, and kept in one safetensors file (docs/statistics.md has every
// tensor).
//
//   auto file = coppice::StatisticsFile::open("stats.safetensors");
//   if (const coppice::InputInfo* input = file.input_of("model.layers.0.mlp.up_proj.weight"))
//     use(file.read(*input).gram);
//
//   coppice::GramAccumulator sums(cols);
//   for (const auto& batch : batches) sums.add(batch);        // Activations of linear.h
//   coppice::InputStatistics statistics = sums.statistics();
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "coppice/linear.h"

namespace coppice {

/// Sums over the samples (tokens) x of one input of linear layers.
struct InputStatistics {
  std::int64_t cols = 0, samples = 0;
  std::vector<double> gram;         ///< [cols, cols]: sum of x x^T, exactly symmetric; or empty
  std::vector<double> square_sums;  ///< [cols]: its diagonal, the sums of x_j^2
};

/// Sums over the samples' gradients g of one weight, in blocks of `block` neighbouring weights of a
/// row. A row's last block is filled up with zeros.
struct FisherStatistics {
  std::int64_t blocks = 0;   ///< rows * ceil(cols / block)
  std::int64_t block = 0;    ///< weights in a block
  std::int64_t samples = 0;  ///< gradients
  std::vector<double> sums;  ///< [blocks, block, block]: sum of g g^T, each exactly symmetric
};

/// Throws InvalidArgument, in the words of a damaged file, unless `gram` [cols, cols] may be a sum
/// of products x x^T: finite, symmetric but for rounding, no entry larger than its diagonal allows.
/// What prunes does not look (it reads the diagonal and above); files are checked by their reader.
void check_gram(std::span<const double> gram, std::int64_t cols, int threads = 1);
/// The same of every block.
void check_fisher(const FisherStatistics& fisher, int threads = 1);

/// What the samples are for.
enum class StatisticsSet : std::uint8_t {
  calibration,  ///< pruning may look at them
  held_out,     ///< only to measure what pruning did
};

/// "calibration" or "held_out".
std::string_view set_name(StatisticsSet set);

/// What a file says about an input, short of its numbers.
struct InputInfo {
  std::string name;
  std::int64_t cols = 0, samples = 0;
  bool has_gram = true;

  friend bool operator==(const InputInfo&, const InputInfo&) = default;
};

/// The same of a weight's gradients.
struct FisherInfo {
  std::string weight;
  std::int64_t blocks = 0, block = 0, samples = 0;

  friend bool operator==(const FisherInfo&, const FisherInfo&) = default;
};

/// What a statistics file holds, short of its numbers.
struct StatisticsContents {
  StatisticsSet set = StatisticsSet::calibration;
  std::vector<InputInfo> inputs;               ///< ascending by name
  std::map<std::string, std::string> weights;  ///< weight -> the input that it multiplies
  std::vector<FisherInfo> fisher;              ///< ascending by weight
};

/// A statistics file, read only and mapped: opening checks names, shapes and dtypes; the numbers of
/// an input are read, and checked, when they are asked for. Move-only; const functions may be
/// called from several threads.
class StatisticsFile {
 public:
  /// Throws FileError, with the path and the fault.
  static StatisticsFile open(const std::filesystem::path& path);
  /// The same of bytes in memory, which must outlive the object. @param name for messages
  static StatisticsFile parse(std::span<const std::byte> bytes, std::string name = "<memory>");

  StatisticsFile(StatisticsFile&&) noexcept;
  StatisticsFile& operator=(StatisticsFile&&) noexcept;
  ~StatisticsFile();

  /// The path, for messages.
  const std::string& name() const;
  const StatisticsContents& contents() const;
  /// The input that the weight multiplies, or nullptr.
  const InputInfo* input_of(std::string_view weight) const;
  /// The weight's gradients, or nullptr.
  const FisherInfo* fisher_of(std::string_view weight) const;

  /// The numbers of an input of `contents()`. Throws FileError if they are not what they say: not
  /// finite, a Gram matrix that is not symmetric, or whose entries are too large for its diagonal,
  /// sums of squares below 0 or other than the diagonal.
  InputStatistics read(const InputInfo& input, int threads = 1) const;
  /// The same without the Gram matrix: cheap.
  InputStatistics read_square_sums(const InputInfo& input) const;
  /// Throws FileError as `read`.
  FisherStatistics read(const FisherInfo& fisher, int threads = 1) const;

  struct Impl;
  const Impl& impl() const { return *impl_; }

 private:
  explicit StatisticsFile(std::unique_ptr<const Impl> impl);
  std::unique_ptr<const Impl> impl_;
};

/// Writes a statistics file, one input at a time; it appears under its name at `commit`. Move-only.
class StatisticsWriter {
 public:
  /// Declares all that will be written, in any order. Throws InvalidArgument (contents that do not
  /// fit together) or FileError.
  StatisticsWriter(const std::filesystem::path& path, StatisticsContents contents);
  StatisticsWriter(StatisticsWriter&&) noexcept;
  StatisticsWriter& operator=(StatisticsWriter&&) noexcept;
  ~StatisticsWriter();

  /// Throws InvalidArgument if the numbers are not as declared or not what `StatisticsFile::read`
  /// accepts, FileError, or Cancelled.
  void add(std::string_view input, const InputStatistics& statistics);
  void add_fisher(std::string_view weight, const FisherStatistics& statistics);
  /// Throws InvalidArgument if something declared was not added, or FileError.
  void commit();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// Adds up shards of one set: inputs, weights and gradients that only some shards have are taken
/// from those. The sums are formed in twice the precision of double, so that they depend on the
/// order of the shards by the last rounding at most. Needs little memory. Throws FileError (a shard
/// that is damaged), InvalidArgument (shards that do not fit together), or Cancelled.
void merge_statistics(std::span<const std::filesystem::path> shards,
                      const std::filesystem::path& out, int threads = 1);

/// Sums X^T X over batches of activations: products in fp32 over at most 128 tokens, which are then
/// added up in fp64. Holds 8 * cols^2 bytes. Same bits for any number of threads.
class GramAccumulator {
 public:
  /// Throws InvalidArgument if cols < 1.
  explicit GramAccumulator(std::int64_t cols, int threads = 1);

  /// Adds a batch of [tokens, cols], either layout. Throws InvalidArgument, and adds nothing, if it
  /// has other features or an activation that is not a number below 1e18.
  void add(const Activations& x);

  std::int64_t samples() const { return statistics_.samples; }
  /// What was summed so far.
  InputStatistics statistics() const;

 private:
  InputStatistics statistics_;  // of gram, the panels above the diagonal are current
  int threads_ = 1;
};

}  // namespace coppice
