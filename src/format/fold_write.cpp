// A checkpoint with its channels reordered.
#include <fmt/format.h>

#include <cstring>
#include <memory>
#include <set>
#include <unordered_map>

#include "coppice/error.h"
#include "coppice/permutation_fold.h"
#include "format/checkpoint_impl.h"
#include "format/checkpoint_output.h"
#include "format/checkpoint_plan.h"
#include "format/safetensors_header.h"

namespace coppice {
namespace {

struct Move {
  const FoldSlice* slice = nullptr;
  const FoldedPermutation* fold = nullptr;
};

using MovesByTensor = std::unordered_map<std::string_view, std::vector<Move>>;

void check_fold(const FoldedPermutation& folded) {
  const Fold& fold = folded.fold;
  check_permutation(folded.permutation, fold.size, "permutation of " + printable(fold.name));
  if (fold.head_channels == 0) return;
  if (fold.head_channels < 0 || fold.size % fold.head_channels != 0)
    throw InvalidArgument(fmt::format("fold '{}' has {} channels in heads of {}",
                                      printable(fold.name), fold.size, fold.head_channels));
  for (std::int64_t i = 0; i < fold.size; ++i)
    if (folded.permutation[static_cast<std::size_t>(i)] / fold.head_channels !=
        i / fold.head_channels)
      throw InvalidArgument(
          fmt::format("permutation of {}[{}] is {}, in another head of {} channels; give the "
                      "search the fold's segments",
                      printable(fold.name), i, folded.permutation[static_cast<std::size_t>(i)],
                      fold.head_channels));
}

MovesByTensor collect_moves(const Checkpoint& input, std::span<const FoldedPermutation> folds) {
  MovesByTensor moves;
  std::set<std::string_view> names;
  for (const FoldedPermutation& folded : folds) {
    check_fold(folded);
    if (!names.insert(folded.fold.name).second)
      throw InvalidArgument(fmt::format("fold '{}' is given twice", printable(folded.fold.name)));
    for (const FoldSlice& slice : folded.fold.slices) {
      const CheckpointTensor* tensor = input.find(slice.tensor);
      if (!tensor || slice.axis < 0 || slice.axis >= std::ssize(tensor->shape) ||
          slice.offset < 0 || slice.repeat < 1 ||
          (slice.repeat > 1 && !folded.fold.head_channels) ||
          slice.offset + slice.repeat * folded.fold.size >
              tensor->shape[static_cast<std::size_t>(slice.axis)] ||
          dtype_bits(tensor->dtype) % 8 != 0)
        throw InvalidArgument(fmt::format("fold '{}' does not fit tensor '{}' of this checkpoint",
                                          printable(folded.fold.name), printable(slice.tensor)));
      moves[slice.tensor].push_back({&slice, &folded});
    }
  }
  return moves;
}

// The channel that comes to place i of a slice.
std::int64_t source(const Move& move, std::int64_t i) {
  const std::int64_t head = move.fold->fold.head_channels;
  const Permutation& permutation = move.fold->permutation;
  if (head == 0) return permutation[static_cast<std::size_t>(i)];
  const std::int64_t own = i / head / move.slice->repeat;  // the head of the fold
  return i / head * head + permutation[static_cast<std::size_t>(own * head + i % head)] % head;
}

void reorder(const CheckpointTensor& tensor, const Move& move, std::span<const std::byte> from,
             std::byte* to) {
  std::size_t outer = 1, inner = static_cast<std::size_t>(dtype_bytes(tensor.dtype));
  const auto axis = static_cast<std::size_t>(move.slice->axis);
  for (std::size_t i = 0; i < tensor.shape.size(); ++i)
    if (i != axis) (i < axis ? outer : inner) *= static_cast<std::size_t>(tensor.shape[i]);
  const auto length = static_cast<std::size_t>(tensor.shape[axis]);
  const auto offset = static_cast<std::size_t>(move.slice->offset);
  const std::int64_t moved = move.slice->repeat * move.fold->fold.size;
  std::memcpy(to, from.data(), from.size());
  for (std::size_t o = 0; o < outer; ++o) {
    const std::size_t base = o * length + offset;
    for (std::int64_t i = 0; i < moved; ++i)
      std::memcpy(to + (base + static_cast<std::size_t>(i)) * inner,
                  from.data() + (base + static_cast<std::size_t>(source(move, i))) * inner, inner);
  }
}

Step fold_step(const Checkpoint::Impl& input, std::size_t position, const std::vector<Move>& moves,
               FilePlan& plan) {
  Step step = copy_step(input, position, plan);
  step.write = [&input, &moves, position,
                declared = plan.tensors.size() - 1](SafetensorsWriter& writer) {
    const std::span<const std::byte> stored = input.data(position);
    std::vector<std::byte> bytes(stored.begin(), stored.end()), next(stored.size());
    input.file_of(position).drop(stored);
    for (const Move& move : moves) {
      reorder(input.tensors[position], move, bytes, next.data());
      bytes.swap(next);
    }
    writer.append(declared, bytes);
  };
  return step;
}

}  // namespace

WriteReport write_folded(const Checkpoint& checkpoint, const std::filesystem::path& out,
                         std::span<const FoldedPermutation> folds, const WriteOptions& options) {
  const Checkpoint::Impl& input = checkpoint.impl();
  const std::filesystem::path target = resolve_output(input.directory, out);
  const MovesByTensor moves = collect_moves(checkpoint, folds);
  OutputPlan plan = plan_like(input);
  for (std::size_t position = 0; position < input.tensors.size(); ++position) {
    const CheckpointTensor& tensor = input.tensors[position];
    FilePlan& file = plan.files[tensor.file];
    const auto it = moves.find(tensor.name);
    file.steps.push_back(it == moves.end() ? copy_step(input, position, file)
                                           : fold_step(input, position, it->second, file));
  }
  return write_output(checkpoint, target, plan, options);
}

}  // namespace coppice
