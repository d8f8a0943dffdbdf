#include "cuda/tuner/tune.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <optional>
#include <string_view>

#include "coppice/error.h"
#include "cuda/candidates.h"
#include "cuda/identity.h"
#include "cuda/multiply.h"
#include "cuda/tuner/cache_file.h"
#include "cuda/tuner/key.h"
#include "cuda/tuner/measure.h"
#include "cuda/tuner/search.h"
#include "cuda/tuner/tuned_choices.h"
#include "cuda/weight.h"

namespace coppice::cuda {
namespace {

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : "";
}

TuneKey key_of(const PackedWeight& weight, const TuneTarget& target, const GpuIdentity& gpu) {
  return {gpu.name,      gpu.driver,    COPPICE_VERSION, weight.pattern(), weight.dtype(),
          weight.rows(), weight.cols(), target.tokens,   target.layout};
}

// Activations as a caller would have them: aligned.
ProductInfo product_for(const PackedWeight& weight, const TuneTarget& target) {
  ProductInfo product = weight.impl().product;
  product.tokens = target.tokens;
  product.token_major = target.layout == Layout::token_major;
  return product;
}

// The selection that a cache entry names, if there is one for this product.
std::optional<Selection> selection_of(const CacheEntry& entry, const ProductInfo& product,
                                      const DeviceInfo& device) {
  const std::vector<Selection> all = candidates(product, device);
  for (const Selection& selection : all) {
    if (tile_name(selection) != entry.tile || !same_sums(selection, all[0])) continue;
    Selection found = selection;
    found.token_group = entry.token_group;
    return found;
  }
  return std::nullopt;
}

// Look-ups have one kernel for a weight.
bool has_choice(const PackedWeight& weight) {
  return weight.rows() > 0 && weight.cols() > 0 &&
         weight.impl().product.packing == Packing::records;
}

// One call of `tune`.
class Tuner {
 public:
  Tuner(const PackedWeight& weight, const TuneOptions& options)
      : weight_(weight),
        options_(options),
        gpu_(gpu_identity(weight.device())),
        file_(options.cache.empty() ? tuning_cache_file() : options.cache) {
    std::string warning;
    if (!file_.empty()) known_ = read_cache(file_, &warning);
    warn(warning);
    if (weight.impl().tuned != nullptr) choices_ = *weight.impl().tuned;
  }

  TuneReport tune(const TuneTarget& target, std::int64_t most_tokens) {
    const ProductInfo product = product_for(weight_, target);
    const DeviceInfo& device = weight_.impl().device_info;
    TuneReport report{target, {}, 0, 0, false};
    const std::string key = key_of(weight_, target, gpu_).text();
    if (const auto entry = known_.find(key); entry != known_.end() && !options_.again) {
      if (const auto selection = selection_of(entry->second, product, device)) {
        take(target, *selection, entry->second, report);
        report.from_cache = true;
        return report;
      }
    }
    if (!options_.measure) return report;
    if (!operands_) operands_.emplace(weight_, most_tokens);
    const SearchResult result =
        search_fastest(product, device, [&](std::span<const Selection> selections) {
          return operands_->seconds(selections, target.tokens, target.layout);
        });
    const CacheEntry entry{tile_name(result.best), result.best.token_group, result.seconds,
                           result.untuned_seconds};
    take(target, result.best, entry, report);
    found_[key] = known_[key] = entry;
    return report;
  }

  /// Gives the weight its choices, and the file what was measured.
  void finish() {
    weight_.impl().tuned = std::make_shared<const TunedChoices>(std::move(choices_));
    std::string warning;
    if (!found_.empty() && !file_.empty()) merge_into_cache(file_, found_, &warning);
    warn(warning);
  }

 private:
  void take(const TuneTarget& target, const Selection& selection, const CacheEntry& entry,
            TuneReport& report) {
    choices_.set(target.tokens, target.layout, selection);
    report.kernel = configuration_name(selection);
    report.seconds = entry.seconds;
    report.untuned_seconds = entry.untuned_seconds;
  }

  void warn(const std::string& text) {
    if (!text.empty() && !warned_ && options_.warn) options_.warn(text);
    warned_ = warned_ || !text.empty();
  }

  const PackedWeight& weight_;
  const TuneOptions& options_;
  GpuIdentity gpu_;
  std::string file_;
  CacheEntries known_, found_;
  TunedChoices choices_;
  std::optional<TuneOperands> operands_;
  bool warned_ = false;
};

}  // namespace

std::string tuning_cache_file() {
  if (std::string file = variable("COPPICE_TUNING_CACHE"); !file.empty()) return file;
  if (const std::string cache = variable("XDG_CACHE_HOME"); cache.starts_with('/'))
    return cache + "/coppice/tuning.json";
  const std::string home = variable("HOME");
  return home.empty() ? "" : home + "/.cache/coppice/tuning.json";
}

std::vector<TuneReport> tune(PackedWeight& weight, std::span<const TuneTarget> targets,
                             const TuneOptions& options) {
  std::int64_t most_tokens = 0;
  for (const TuneTarget& target : targets) {
    if (target.tokens < 1)
      throw InvalidArgument(fmt::format("tuning for {} tokens, needs 1 or more", target.tokens));
    most_tokens = std::max(most_tokens, target.tokens);
  }
  std::vector<TuneReport> reports;
  if (!has_choice(weight)) {
    for (const TuneTarget& target : targets) reports.push_back({target, {}, 0, 0, false});
    return reports;
  }
  const DeviceGuard guard(weight.device());
  Tuner tuner(weight, options);
  for (const TuneTarget& target : targets) reports.push_back(tuner.tune(target, most_tokens));
  tuner.finish();
  return reports;
}

void tune_from_environment(const PackedWeight& weight) {
  if (variable("COPPICE_TUNE") != "1" || !has_choice(weight)) return;
  const TuneOptions options{.cache = {}, .measure = false};
  Tuner tuner(weight, options);
  constexpr std::int64_t kMostTokens = 1 << 16;
  for (std::int64_t tokens = token_bucket(1); tokens <= kMostTokens; tokens *= 2)
    for (Layout layout : {Layout::token_major, Layout::feature_major})
      tuner.tune({tokens, layout}, 0);
  tuner.finish();
}

}  // namespace coppice::cuda
