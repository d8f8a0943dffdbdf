// COPPICE_CPU_TARGET: read once in a process, so each case runs in a process of its own.
#include "cpu/target.h"
//
#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

#include "coppice/error.h"
#include "coppice/linear.h"
#include "hwy/highway.h"

namespace coppice::cpu {
namespace {

class TargetDeathTest : public testing::Test {
 protected:
  void SetUp() override { testing::FLAGS_gtest_death_test_style = "threadsafe"; }
};

// Exits with 0 if the target is the wanted one.
[[noreturn]] void exit_on(const std::string& wanted) {
  setenv("COPPICE_CPU_TARGET", wanted.c_str(), 1);
  std::_Exit(target_name() == wanted ? 0 : 1);
}

[[noreturn]] void exit_on_refusal() {
  setenv("COPPICE_CPU_TARGET", "avx9000", 1);
  try {
    (void)target_name();
  } catch (const InvalidArgument&) {
    std::_Exit(0);
  }
  std::_Exit(1);
}

TEST_F(TargetDeathTest, FollowsTheEnvironment) {
  for (const std::int64_t target : hwy::SupportedAndGeneratedTargets()) {
    const std::string name = hwy::TargetName(target);
    EXPECT_EXIT(exit_on(name), testing::ExitedWithCode(0), "") << name;
  }
}

TEST_F(TargetDeathTest, RefusesUnknownNames) {
  EXPECT_EXIT(exit_on_refusal(), testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace coppice::cpu
