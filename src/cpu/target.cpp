#include "cpu/target.h"

#include <cstdlib>
#include <string>
#include <string_view>

#include "coppice/error.h"
#include "coppice/linear.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/target.cpp"
#include <fmt/format.h>

#include "hwy/foreach_target.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace coppice::cpu::HWY_NAMESPACE {
const char* this_target() { return hwy::TargetName(HWY_TARGET); }
}  // namespace coppice::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace coppice::cpu {
namespace {

HWY_EXPORT(this_target);

// A lower bit is a better target: disables all that are better than the wanted one.
bool apply_environment() {
  const char* wanted = std::getenv("COPPICE_CPU_TARGET");
  if (wanted == nullptr || *wanted == '\0') return false;
  std::string known;
  for (std::int64_t left = HWY_TARGETS; left != 0; left &= left - 1) {
    const std::int64_t target = left & -left;
    if (std::string_view(wanted) == hwy::TargetName(target)) {
      hwy::DisableTargets(target - 1);
      return true;
    }
    known += known.empty() ? "" : ", ";
    known += hwy::TargetName(target);
  }
  throw InvalidArgument(
      fmt::format("COPPICE_CPU_TARGET is '{}', needs to be one of {} or unset", wanted, known));
}

}  // namespace

void choose_target() { static const bool lowered [[maybe_unused]] = apply_environment(); }

std::string_view target_name() {
  choose_target();
  return HWY_DYNAMIC_DISPATCH(this_target)();
}

}  // namespace coppice::cpu
#endif  // HWY_ONCE
