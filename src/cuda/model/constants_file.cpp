#include "cuda/model/constants_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <span>

#include "coppice/error.h"
#include "core/file_output.h"

namespace coppice::cuda::model {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr int kFormat = 1;
constexpr std::size_t kMostBytes = std::size_t{1} << 20;
constexpr const char* kAgain = "measure again with `coppice calibrate`, or remove the file";

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : "";
}

class Reader {
 public:
  explicit Reader(const std::string& name) : name_(name) {}

  std::vector<Calibration> read(const std::string& text) const {
    if (text.size() > kMostBytes) fault("more than 1 MB");
    const Json json = Json::parse(text, nullptr, false);
    if (!json.is_object()) fault("not a JSON object");
    const Json format = json.value("format", Json());
    if (format != kFormat) fault(fmt::format("format {}, needs {}", format.dump(), kFormat));
    const Json gpus = json.value("gpus", Json());
    if (!gpus.is_object()) fault("no object 'gpus'");
    std::vector<Calibration> all;
    for (const auto& [gpu, entry] : gpus.items()) all.push_back(calibration(gpu, entry));
    return all;
  }

 private:
  [[noreturn]] void fault(const std::string& what) const {
    throw FileError(fmt::format("constants of GPUs '{}': {}; {}", name_, what, kAgain));
  }

  std::string text(const Json& of, const char* key) const {
    const Json value = of.value(key, Json());
    if (!value.is_string()) fault(fmt::format("'{}' is no text", key));
    return value;
  }

  std::int64_t whole(const Json& of, const char* key, std::int64_t most) const {
    const Json value = of.value(key, Json());
    if (!value.is_number_integer() || value < 1 || value > most)
      fault(fmt::format("'{}' is {}, needs to be 1 to {}", key, value.dump(), most));
    return value;
  }

  Calibration calibration(const std::string& name, const Json& entry) const {
    if (!entry.is_object()) fault(fmt::format("'{}' is no object", name));
    Calibration c;
    c.driver = text(entry, "driver");
    c.date = text(entry, "date");
    c.gpu.name = name;
    c.gpu.source = fmt::format("calibrated {} ({})", c.date, name_);
    DeviceInfo& device = c.gpu.device;
    device.multiprocessors = static_cast<int>(whole(entry, "multiprocessors", 4096));
    device.compute_capability = static_cast<int>(whole(entry, "compute_capability", 999));
    device.l2_bytes = whole(entry, "l2_bytes", std::int64_t{1} << 40);
    device.shared_bytes = static_cast<int>(whole(entry, "shared_bytes", 1 << 30));
    device.has_wgmma = device.compute_capability == 90;
    device.dense_library = true;  // which comes with the toolkit
    constants(entry.value("constants", Json()), c.gpu.constants);
    return c;
  }

  // All of them and no others: one that is missing would silently be the H200's.
  void constants(const Json& from, Constants& to) const {
    if (!from.is_object()) fault("no object 'constants'");
    std::size_t count = 0;
    for_each_constant(to, [&](const char* name, double& value) {
      const Json number = from.value(name, Json());
      if (!number.is_number()) fault(fmt::format("no number '{}'", name));
      value = number;
      if (!std::isfinite(value) || value <= 0)
        fault(fmt::format("'{}' is {}, not a positive number", name, number.dump()));
      ++count;
    });
    if (count != from.size()) fault("constants that this version does not know");
  }

  const std::string& name_;
};

std::string lower(std::string text) {
  std::ranges::transform(text, text.begin(),
                         [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

}  // namespace

std::string constants_file() {
  if (std::string file = variable("COPPICE_GPU_MODEL"); !file.empty()) return file;
  if (const std::string cache = variable("XDG_CACHE_HOME"); cache.starts_with('/'))
    return cache + "/coppice/gpu_model.json";
  const std::string home = variable("HOME");
  return home.empty() ? "" : home + "/.cache/coppice/gpu_model.json";
}

std::vector<Calibration> parse_calibrations(const std::string& text, const std::string& name) {
  return Reader(name).read(text);
}

std::string calibrations_text(const std::vector<Calibration>& calibrations) {
  Json gpus = Json::object();
  for (const Calibration& c : calibrations) {
    Json constants = Json::object();
    for_each_constant(c.gpu.constants,
                      [&](const char* name, double value) { constants[name] = value; });
    gpus[c.gpu.name] = {{"driver", c.driver},
                        {"date", c.date},
                        {"multiprocessors", c.gpu.device.multiprocessors},
                        {"compute_capability", c.gpu.device.compute_capability},
                        {"l2_bytes", c.gpu.device.l2_bytes},
                        {"shared_bytes", c.gpu.device.shared_bytes},
                        {"constants", constants}};
  }
  return Json{{"format", kFormat}, {"gpus", gpus}}.dump(1) + "\n";
}

std::vector<Calibration> read_calibrations(const std::string& file) {
  std::error_code error;
  const fs::file_status status = fs::status(file, error);
  if (file.empty() || status.type() == fs::file_type::not_found) return {};
  if (!fs::is_regular_file(status))
    throw FileError(fmt::format("constants of GPUs '{}': not a file", file));
  std::string text(kMostBytes + 1, '\0');  // enough to see that it is too large
  std::ifstream in(file, std::ios::binary);
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (!in.is_open() || in.bad())
    throw FileError(fmt::format("constants of GPUs '{}': cannot be read", file));
  text.resize(static_cast<std::size_t>(in.gcount()));
  return parse_calibrations(text, file);
}

void keep_calibration(const std::string& file, const Calibration& calibration) {
  std::vector<Calibration> all;
  try {
    all = read_calibrations(file);
  } catch (const FileError&) {
    all.clear();
  }
  std::erase_if(all, [&](const Calibration& c) { return c.gpu.name == calibration.gpu.name; });
  all.push_back(calibration);
  const std::string text = calibrations_text(all);
  std::error_code error;
  if (const fs::path parent = fs::path(file).parent_path(); !parent.empty())
    fs::create_directories(parent, error);
  AtomicFile out(file);
  out.write_at(0, std::as_bytes(std::span(text)));
  out.commit();
}

const Calibration* find_calibration(const std::vector<Calibration>& all, const std::string& name) {
  const Calibration* found = nullptr;
  for (const Calibration& c : all) {
    if (c.gpu.name == name) return &c;
    if (lower(c.gpu.name).find(lower(name)) == std::string::npos) continue;
    if (found != nullptr) return nullptr;
    found = &c;
  }
  return found;
}

}  // namespace coppice::cuda::model
