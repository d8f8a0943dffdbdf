#include "format/checkpoint_output.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>
#include <system_error>

#include "coppice/cancel.h"
#include "coppice/error.h"
#include "core/file_output.h"
#include "format/checkpoint_roles.h"

namespace coppice {
namespace {

namespace fs = std::filesystem;

// Whole models in formats of their own: left out wherever they lie.
constexpr const char* kOtherModels[] = {"*.onnx",        "*.onnx_data", "*.gguf",
                                        "*.tflite",      "*.mlmodel",   "openvino_model.*",
                                        "consolidated.*"};
// The same weights again: left out where safetensors lie beside them.
constexpr const char* kSameWeights[] = {"pytorch_model*.bin",  "pytorch_model.bin.index.json",
                                        "tf_model*.h5",        "tf_model.h5.index.json",
                                        "flax_model*.msgpack", "flax_model.msgpack.index.json",
                                        "rust_model.ot",       "model.ckpt*"};
constexpr const char* kDirectories[] = {".git", ".cache"};

template <std::size_t count>
bool matches(const char* const (&globs)[count], const std::string& name) {
  return std::ranges::any_of(globs, [&](const char* glob) { return glob_matches(glob, name); });
}

bool is_inside(const fs::path& path, const fs::path& directory) {
  return std::ranges::mismatch(directory, path).in1 == directory.end();
}

std::vector<fs::directory_entry> list(const fs::path& directory) {
  std::error_code error;
  std::vector<fs::directory_entry> entries;
  fs::directory_iterator it(directory, error);
  for (; !error && it != fs::directory_iterator(); it.increment(error)) entries.push_back(*it);
  if (error) throw_file_error("list", directory, error.value());
  std::ranges::sort(entries);
  return entries;
}

class Copier {
 public:
  Copier(const Checkpoint::Impl& input, const fs::path& out) : input_(input), out_(out) {}

  // Copies one directory; `inside` is its place relative to the input.
  void copy(const fs::path& inside) {
    const auto entries = list(input_.directory / inside);
    const bool safetensors = std::ranges::any_of(entries, [](const fs::directory_entry& entry) {
      return entry.path().extension() == ".safetensors";
    });
    for (const fs::directory_entry& entry : entries) {
      throw_if_cancelled();
      const fs::path name = inside / entry.path().filename();
      if (inside.empty() && is_own(name.string())) continue;
      copy_entry(entry, name, safetensors);
    }
    sync_directory(out_ / inside);
  }

  std::vector<std::string> left_out;

 private:
  // Files that the writers make themselves.
  bool is_own(const std::string& name) const {
    return name == kConfigFile || (input_.has_index && name == kIndexFile) ||
           std::ranges::find(input_.file_names, name) != input_.file_names.end();
  }

  // Shards and index of another copy of the model, which transformers does not read either.
  bool is_stale(const fs::path& name) const {
    return !name.has_parent_path() &&
           (name == kIndexFile || glob_matches("model*.safetensors", name.string()));
  }

  void copy_entry(const fs::directory_entry& entry, const fs::path& name, bool safetensors) {
    const std::string file = name.filename().string();
    std::error_code ignored;
    if (entry.is_directory(ignored)) {
      // A linked directory may lead anywhere, even back into itself.
      if (entry.is_symlink(ignored) || matches(kDirectories, file)) return leave_out(name);
      std::error_code error;
      if (!fs::create_directory(out_ / name, error))
        throw_file_error("create", out_ / name, error.value());
      return copy(name);
    }
    if (!entry.is_regular_file(ignored) || is_stale(name) || matches(kOtherModels, file) ||
        (safetensors && matches(kSameWeights, file)))
      return leave_out(name);
    copy_regular(entry.path(), out_ / name);
  }

  void leave_out(const fs::path& name) { left_out.push_back(name.string()); }

  const Checkpoint::Impl& input_;
  const fs::path& out_;
};

}  // namespace

fs::path resolve_output(const fs::path& input, const fs::path& out) {
  std::error_code error;
  const fs::path named = out.has_filename() ? out : out.parent_path();  // "out/" is "out"
  if (named.empty()) throw InvalidArgument("the output directory has no name");
  const fs::file_status status = fs::symlink_status(named, error);
  if (fs::exists(status)) {
    if (fs::equivalent(named, input, error))
      throw InvalidArgument(
          fmt::format("{}: the output is the input directory; the input is never "
                      "changed, choose another output",
                      out.string()));
    throw InvalidArgument(
        fmt::format("{}: exists already; remove it or choose another output", out.string()));
  }
  const fs::path parent =
      fs::canonical(named.has_parent_path() ? named.parent_path() : fs::path("."), error);
  if (error || !fs::is_directory(parent, error))
    throw InvalidArgument(
        fmt::format("{}: its parent directory does not exist; create it first", out.string()));
  const fs::path inside = fs::canonical(input, error);
  if (!error && is_inside(parent, inside))
    throw InvalidArgument(
        fmt::format("{}: the output lies inside the input directory; choose one "
                    "outside",
                    out.string()));
  return parent / named.filename();
}

void check_output(const fs::path& input, const fs::path& out) { resolve_output(input, out); }

std::vector<std::string> copy_other_files(const Checkpoint::Impl& input, const fs::path& out) {
  Copier copier(input, out);
  copier.copy({});
  return std::move(copier.left_out);
}

}  // namespace coppice
