// Checkpoint: a Hugging Face model directory (config.json beside one or several safetensors files),
// which of its tensors are linear weights, and how to write a pruned, packed or unpacked copy of
// it.
//
//   auto checkpoint = coppice::Checkpoint::open("model");
//   auto weights = checkpoint.linear_weights();
//   coppice::write_dense(checkpoint, "pruned", weights, [&](const auto&, const auto& dense) {
//     coppice::apply_mask(dense, coppice::magnitude_mask(dense, pattern).mask);
//   });
//
// Memory: the writers hold one weight at a time. Input files are mapped, and given back once read.
// Safety: inputs are never modified. An output directory appears complete or not at all: it is
// written as `<out>.tmp-XXXXXX` beside the target, brought to disk, and renamed at the end; on an
// error, or when the caller cancels (cancel.h), the temporary directory is removed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "coppice/cancel.h"
#include "coppice/pattern.h"
#include "coppice/safetensors.h"
#include "coppice/sparse_matrix.h"

namespace coppice {

/// What a tensor is in its model, as far as pruning is concerned. Decided by its name, its number
/// of dimensions and the model type (src/format/checkpoint_roles.cpp holds the one table).
enum class TensorRole : std::uint8_t {
  linear,     ///< a projection of attention or MLP: pruned by default
  head,       ///< language-model head, classifier: dense unless included by name
  pooler,     ///< pooler of an encoder: dense unless included by name
  router,     ///< gate of a mixture of experts: dense unless included by name
  tied_head,  ///< a head that is the embedding matrix: never touched
  embedding,  ///< token, position or type embedding: never touched
  other,      ///< norms, biases, convolutions, buffers, dtypes that cannot be pruned: never touched
};

/// "linear", "head", ...
std::string_view role_name(TensorRole role);

/// A tensor of a checkpoint.
struct CheckpointTensor : TensorInfo {
  std::size_t file = 0;  ///< index into Checkpoint::files()
  TensorRole role = TensorRole::other;
  /// `role` is `other` for the dtype alone: by its name it is a weight, but not of a dtype that can
  /// be pruned.
  bool left_for_dtype = false;
};

/// One `[rows, cols]` weight of a linear layer, and how it lies in its tensor (the adapter).
struct LinearWeight {
  std::string name;    ///< the tensor's name; `<tensor>.<index>` in a stacked tensor
  std::string tensor;  ///< the tensor that holds it
  TensorRole role = TensorRole::linear;
  Dtype dtype = Dtype::f32;
  WeightShape shape;        ///< rows, cols, and row_segments of fused projections
  bool transposed = false;  ///< stored as [cols, rows] (GPT-2's Conv1D)
  std::int64_t index = 0;   ///< which weight of a stacked tensor
  std::int64_t count = 1;   ///< weights stacked in the tensor, along a leading dimension
  bool stacked = false;     ///< the tensor has that leading dimension
};

/// Changes what is chosen by default. Globs match whole tensor names: `*` is any text, `?` any
/// character, `[...]` one of several. Heads, poolers and routers can be included; embeddings, tied
/// heads and other tensors cannot.
struct WeightSelection {
  std::vector<std::string> include;  ///< if not empty: choose what matches one of these instead
  std::vector<std::string> exclude;  ///< never choose what matches one of these
};

/// A weight of a packed checkpoint.
struct PackedEntry {
  LinearWeight weight;  ///< as it was in the dense checkpoint
  Pattern pattern;
  bool has_input_permutation = false;
};

/// A weight as dense row-major `[rows, cols]`, packed and aligned to its element: a view of the
/// mapped file where the adapter allows it, else a copy. Move-only; a view lives as long as its
/// Checkpoint.
class WeightData {
 public:
  WeightData(WeightData&&) = default;
  WeightData& operator=(WeightData&&) = default;
  DenseView view() const { return view_; }

 private:
  friend class Checkpoint;
  WeightData() = default;
  std::unique_ptr<std::byte[]> owned_;
  DenseView view_;
};

/// The canonical arrays of one packed weight, already validated: views of the mapped file where
/// they are aligned, else copies. Move-only; lives no longer than its Checkpoint.
class PackedData {
 public:
  PackedData(PackedData&&) = default;
  PackedData& operator=(PackedData&&) = default;
  const SparseView& view() const { return view_; }

 private:
  friend class Checkpoint;
  PackedData() = default;
  std::vector<std::uint32_t> permutation_;
  std::unique_ptr<std::byte[]> values_;
  SparseView view_;
};

/// A checkpoint directory, read only. Move-only; const functions may be called from several
/// threads.
class Checkpoint {
 public:
  /// Opens `model.safetensors`, or the shards of `model.safetensors.index.json`, beside
  /// config.json, and checks every header, the index against the shards, and the
  /// quantization_config of a packed checkpoint against its tensors. Throws FileError with the way
  /// out: not a directory, no config.json, `.bin` weights only (how to convert), a missing shard, a
  /// shard name that leaves the directory, a tensor that is not in the shard that the index names.
  static Checkpoint open(const std::filesystem::path& directory);

  Checkpoint(Checkpoint&&) noexcept;
  Checkpoint& operator=(Checkpoint&&) noexcept;
  ~Checkpoint();

  const std::filesystem::path& directory() const;
  /// The text of config.json: a JSON object, in which numbers may also be NaN or Infinity, as
  /// Python's json writes them.
  const std::string& config_json() const;
  /// `model_type` of config.json; empty if there is none.
  const std::string& model_type() const;
  /// The safetensors files, in the order of their names.
  std::span<const SafetensorsFile> files() const;
  /// Their names inside the directory.
  std::span<const std::string> file_names() const;
  /// All tensors: file by file, in the order of their data.
  std::span<const CheckpointTensor> tensors() const;
  /// The tensor of that name, or nullptr.
  const CheckpointTensor* find(std::string_view name) const;
  /// Bytes of all tensors together.
  std::uint64_t tensor_bytes() const;

  /// The chosen linear weights, in the order of tensors(); those of a stacked tensor one after the
  /// other. Throws InvalidArgument if a glob matches nothing, or an include matches only tensors
  /// that cannot be pruned. Packed weights are not among them: see packed_weights().
  std::vector<LinearWeight> linear_weights(const WeightSelection& selection = {}) const;

  /// The weight through its adapter. Throws FileError or Cancelled.
  WeightData read(const LinearWeight& weight, int threads = 1) const;
  /// Gives the file pages of a weight that was read back to the kernel. A hint.
  void drop(const LinearWeight& weight) const;

  /// True if config.json says that weights are packed by Coppice.
  bool is_packed() const;
  /// The packed weights, in the order of their data.
  std::span<const PackedEntry> packed_weights() const;
  /// The packed weight of that name, or nullptr.
  const PackedEntry* find_packed(std::string_view name) const;
  /// The arrays of a packed weight, validated. Throws FileError naming the weight and the fault.
  PackedData read_packed(const PackedEntry& entry, int threads = 1) const;
  /// Gives its file pages back to the kernel. A hint.
  void drop(const PackedEntry& entry) const;

  struct Impl;
  const Impl& impl() const { return *impl_; }

 private:
  friend std::map<std::string, SparseMatrix, std::less<>> read_sparse(
      const std::filesystem::path& path, int threads);
  /// A file of sparse_file.h, for reading its weights.
  static Checkpoint open_packed_file(const std::filesystem::path& path);
  explicit Checkpoint(std::unique_ptr<const Impl> impl);
  std::unique_ptr<const Impl> impl_;
};

/// How far a writer is.
struct WriteProgress {
  std::uint64_t done = 0, total = 0;  ///< bytes of input tensors
  std::string_view current;           ///< the tensor being written
};

struct WriteOptions {
  int threads = 1;
  /// Called before every tensor and at the end, on the calling thread. Throw Cancelled to stop.
  std::function<void(const WriteProgress&)> progress;
};

struct WriteReport {
  std::uint64_t tensor_bytes_in = 0, tensor_bytes_out = 0;
  /// Files and folders of the input directory that did not come along, relative to it: the same
  /// weights in another format (pytorch_model.bin, tf_model.h5, *.onnx, ...), .git and .cache.
  std::vector<std::string> left_out;
};

/// Changes the dense weight in place. It may throw to stop.
using DenseEdit = std::function<void(const LinearWeight&, const MutableDenseView&)>;

/// Writes a checkpoint of the same files, tensors, metadata and layout, in which the chosen weights
/// hold what `edit` makes of them; all other tensors are copied bit for bit. It opens wherever the
/// input does. `edit` is called once for each weight, on the calling thread, in the order of
/// tensors. Throws InvalidArgument if `out` exists, is the input, or lies inside it; FileError;
/// Cancelled; and what `edit` throws.
WriteReport write_dense(const Checkpoint& input, const std::filesystem::path& out,
                        std::span<const LinearWeight> weights, const DenseEdit& edit,
                        const WriteOptions& options = {});

/// Which weight to pack, and how. The array sizes follow from this alone.
struct PackItem {
  LinearWeight weight;
  Pattern pattern;
  bool input_permutation = false;  ///< the SparseMatrix will carry one
};

/// Bytes of the arrays of that form.
std::int64_t packed_bytes(const PackItem& item);

/// Bytes of the weight as it is.
std::int64_t dense_bytes(const LinearWeight& weight);

/// How to compress such a weight: with the segments of its shape, by so many threads.
CompressOptions compress_options(const PackItem& item, int threads);

/// The items that a packed checkpoint can hold and that get smaller by it: none with the pattern
/// `dense`, none that would not shrink (tiny weights), and of a stacked tensor all or none.
/// @param items all weights of each stacked tensor, or those of it that were chosen.
std::vector<PackItem> worth_packing(std::span<const PackItem> items);

/// Compresses a dense weight into the form that `item` declares (pattern, segments of
/// `item.weight.shape`). It may throw to stop.
using WeightCompressor = std::function<SparseMatrix(const PackItem& item, const DenseView& dense)>;

/// Weights that a packed checkpoint keeps dense, but changed.
struct DenseChanges {
  std::span<const LinearWeight> weights;
  DenseEdit edit;
};

/// Writes a packed checkpoint: every chosen weight `w` becomes the canonical arrays `w.values`,
/// `w.columns`, `w.metadata` and `w.input_permutation` (those that its pattern has), those of
/// `changes` are edited, everything else is copied; docs/checkpoint.md describes names and
/// config.json. The weights of a stacked tensor are packed all or none. Throws as write_dense, and
/// InvalidArgument if the input is packed already, a tensor is to be both packed and changed, or a
/// weight has more segments than rows or columns.
WriteReport write_packed(const Checkpoint& input, const std::filesystem::path& out,
                         std::span<const PackItem> items, const WeightCompressor& compressor,
                         const WriteOptions& options = {}, const DenseChanges& changes = {});

/// Writes the dense-with-zeros checkpoint of a packed one. Throws as write_dense, and
/// InvalidArgument if the input is not packed.
WriteReport write_unpacked(const Checkpoint& input, const std::filesystem::path& out,
                           const WriteOptions& options = {});

/// Throws InvalidArgument if `out` could not become the output of this input: it exists, is the
/// input directory, lies inside it (links resolved), or its parent directory is missing. The
/// writers call it first; a caller with long work ahead can do so as well.
void check_output(const std::filesystem::path& input, const std::filesystem::path& out);

/// A weight that is not a number, or infinite.
struct Nonfinite {
  std::int64_t row = 0, col = 0;
  float value = 0;
};

/// The first NaN or infinity in row-major order, or nothing. Any weight dtype.
std::optional<Nonfinite> find_nonfinite(const DenseView& dense, int threads = 1);

}  // namespace coppice
