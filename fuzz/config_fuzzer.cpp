// Any bytes as config.json: refused with FileError, or one member of it is replaced and taken away,
// and everything else says the same as before.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <utility>

#include "coppice/error.h"
#include "format/checkpoint_config.h"
#include "format/config_text.h"

namespace {

using coppice::ConfigJson;

constexpr const char* kKey = "quantization_config";

void require(bool condition) {
  if (!condition) std::abort();
}

void check(const std::string& text, ConfigJson config) {
  config.erase(kKey);
  const std::string without = coppice::without_member(text, kKey);
  require(coppice::parse_config(without, "without") == config);
  const std::string with = coppice::with_member(text, kKey, "{\n  \"a\": [1]\n}");
  const ConfigJson changed = coppice::parse_config(with, "with");
  config[kKey] = {{"a", {1}}};
  require(changed == config);
  coppice::model_config(changed);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  ConfigJson config;
  try {
    config = coppice::parse_config(text, "config");
    if (coppice::is_packed_config(config, "config"))
      coppice::parse_packed_entries(config, "config");
  } catch (const coppice::FileError&) {
    if (!config.is_object()) return 0;
  }
  check(text, std::move(config));
  return 0;
}
