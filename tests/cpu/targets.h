// Runs a test body on every instruction set that this machine has.
#pragma once

#include "cpu/target.h"
//
#include <gtest/gtest.h>

#include <functional>

#include "hwy/highway.h"

namespace coppice::cpu {

inline void for_each_target(const std::function<void()>& body) {
  for (const std::int64_t target : hwy::SupportedAndGeneratedTargets()) {
    SCOPED_TRACE(hwy::TargetName(target));
    hwy::SetSupportedTargetsForTest(target);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
    body();
  }
  hwy::SetSupportedTargetsForTest(0);
  hwy::GetChosenTarget().Update(hwy::SupportedTargets());
}

}  // namespace coppice::cpu
