#include "format/checkpoint_plan.h"

#include <algorithm>
#include <utility>

#include "core/file_output.h"
#include "format/checkpoint_config.h"
#include "format/checkpoint_impl.h"
#include "format/checkpoint_output.h"

namespace coppice {
namespace {

// Copies a tensor, and gives its pages back as it goes.
void copy_tensor(const Checkpoint::Impl& input, std::size_t position, SafetensorsWriter& writer,
                 std::size_t declared) {
  constexpr std::size_t kPiece = 32 << 20;
  std::span<const std::byte> bytes = input.data(position);
  while (!bytes.empty()) {
    const auto part = bytes.first(std::min(kPiece, bytes.size()));
    writer.append(declared, part);
    input.file_of(position).drop(part);
    bytes = bytes.subspan(part.size());
  }
}

class ProgressMeter {
 public:
  ProgressMeter(const WriteOptions& options, std::uint64_t total) : options_(options) {
    progress_.total = total;
  }
  void before(const Step& step) {
    progress_.current = step.name;
    report();
  }
  void after(const Step& step) { progress_.done += step.input_bytes; }
  void report() const {
    throw_if_cancelled();
    if (options_.progress) options_.progress(progress_);
  }

 private:
  const WriteOptions& options_;
  WriteProgress progress_;
};

std::string index_text(const Checkpoint::Impl& input, const OutputPlan& plan) {
  ConfigJson index = input.index;
  ConfigJson map = ConfigJson::object();
  std::uint64_t total = 0;
  for (std::size_t file = 0; file < plan.files.size(); ++file) {
    for (const TensorInfo& tensor : plan.files[file].tensors) {
      map[tensor.name] = input.file_names[file];
      total += static_cast<std::uint64_t>(byte_count(tensor));
    }
  }
  index["weight_map"] = std::move(map);
  if (!index.contains("metadata") || !index["metadata"].is_object())
    index["metadata"] = ConfigJson::object();
  index["metadata"]["total_size"] = total;
  return index.dump(2) + "\n";
}

void write_files(const Checkpoint::Impl& input, const OutputPlan& plan,
                 const std::filesystem::path& directory, const WriteOptions& options) {
  std::uint64_t total = 0;
  for (const FilePlan& file : plan.files)
    for (const Step& step : file.steps) total += step.input_bytes;
  ProgressMeter meter(options, total);
  for (std::size_t i = 0; i < plan.files.size(); ++i) {
    const FilePlan& file = plan.files[i];
    SafetensorsWriter writer(directory / input.file_names[i], file.tensors, file.metadata);
    for (const Step& step : file.steps) {
      meter.before(step);
      step.write(writer);
      meter.after(step);
    }
    writer.commit();
  }
  meter.report();
}

}  // namespace

OutputPlan plan_like(const Checkpoint::Impl& input) {
  OutputPlan plan;
  plan.files.resize(input.files.size());
  for (std::size_t i = 0; i < input.files.size(); ++i)
    plan.files[i].metadata = input.files[i].metadata();
  return plan;
}

Step copy_step(const Checkpoint::Impl& input, std::size_t position, FilePlan& plan) {
  const CheckpointTensor& tensor = input.tensors[position];
  const std::size_t declared = plan.declare(tensor.name, tensor.dtype, tensor.shape);
  return {tensor.name, input.data(position).size(),
          [&input, position, declared](SafetensorsWriter& writer) {
            copy_tensor(input, position, writer, declared);
          }};
}

WriteReport write_output(const Checkpoint& checkpoint, const std::filesystem::path& target,
                         const OutputPlan& plan, const WriteOptions& options) {
  const Checkpoint::Impl& input = checkpoint.impl();
  WriteReport report;
  report.tensor_bytes_in = checkpoint.tensor_bytes();
  for (const FilePlan& file : plan.files)
    for (const TensorInfo& tensor : file.tensors)
      report.tensor_bytes_out += static_cast<std::uint64_t>(byte_count(tensor));

  AtomicDirectory output(target);
  const std::filesystem::path& directory = output.temporary();
  report.left_out = copy_other_files(input, directory);
  if (plan.config) {
    write_text(directory / kConfigFile, *plan.config);
  } else {
    copy_regular(input.directory / kConfigFile, directory / kConfigFile);
  }
  if (input.has_index && plan.rewrite_index) {
    write_text(directory / kIndexFile, index_text(input, plan));
  } else if (input.has_index) {
    copy_regular(input.directory / kIndexFile, directory / kIndexFile);
  }
  write_files(input, plan, directory, options);
  output.commit();
  return report;
}

}  // namespace coppice
