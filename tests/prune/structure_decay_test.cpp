// Structure decay: the published schedules, and what holds for every list.
#include "coppice/structure_decay.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "coppice/error.h"

namespace coppice {
namespace {

using ::testing::ElementsAre;

std::vector<std::string> names(const char* target, const DecayOptions& options = {}) {
  std::vector<std::string> names;
  for (const DecayStep& step : structure_decay(Pattern::parse(target), options))
    names.push_back(step.pattern.to_string());
  return names;
}

std::vector<std::int64_t> epochs(const char* target, const DecayOptions& options = {}) {
  std::vector<std::int64_t> epochs;
  for (const DecayStep& step : structure_decay(Pattern::parse(target), options))
    epochs.push_back(step.epoch);
  return epochs;
}

TEST(StructureDecay, PublishedSchedules) {
  EXPECT_THAT(names("64:2:8"), ElementsAre("64:5/7:8", "64:4/6:8", "64:3:8", "64:2:8"));
  EXPECT_THAT(epochs("64:2:8"), ElementsAre(2, 6, 10, 14));
  EXPECT_THAT(names("2:8"), ElementsAre("5:8", "4:8", "3:8", "2:8"));
  EXPECT_THAT(names("64:2:16"), ElementsAre("64:10/14:16", "64:9/12:16", "64:8/11:16", "64:7/10:16",
                                            "64:5/7:16", "64:4/6:16", "64:3:16", "64:2:16"));
  EXPECT_THAT(epochs("128:2:16"), ElementsAre(2, 6, 10, 14, 18, 22, 26, 30));
}

TEST(StructureDecay, OtherPatternsAndOptions) {
  EXPECT_THAT(names("2:4"), ElementsAre("3:4", "2:4"));
  EXPECT_THAT(names("3:4"), ElementsAre("3:4"));
  EXPECT_THAT(names("vw32/8:32", {.steps = 4}),
              ElementsAre("vw32/20:32", "vw32/16:32", "vw32/12:32", "vw32/8:32"));
  EXPECT_THAT(names("bw4x4/1:4"), ElementsAre("bw4x4/3:4", "bw4x4/2:4", "bw4x4/1:4"));
  EXPECT_THAT(epochs("2:4", {.first_epoch = 0, .epochs = 7}), ElementsAre(0, 7));
}

// Columns that a vector may use: all, where V:N:M keeps all of them and is plain N:M.
int live(const Pattern& pattern, const Pattern& target) {
  return target.has_inner() && !pattern.has_inner() ? pattern.group : pattern.kept;
}

// Masks can shrink from step to step: groups stay, neither weights nor columns come back.
TEST(StructureDecay, EveryStepKeepsLess) {
  for (const char* text : {"1:2", "2:7", "3:200", "vw8/2:64", "bw2x16/5:9", "16:2:5", "32:2:100",
                           "8:3/9:10", "4:8/16:32"})
    for (const double density : {0.3, 0.625, 1.0})
      for (const int steps : {0, 1, 3, 50}) {
        const Pattern target = Pattern::parse(text);
        const auto list = structure_decay(target, {.first_density = density, .steps = steps});
        ASSERT_FALSE(list.empty());
        EXPECT_EQ(list.back().pattern, target);
        if (steps > 0) {
          EXPECT_LE(std::ssize(list), steps);
        }
        for (std::size_t i = 1; i < list.size(); ++i) {
          const Pattern &before = list[i - 1].pattern, &after = list[i].pattern;
          EXPECT_LT(after.density(), before.density()) << text;
          EXPECT_LE(live(after, target), live(before, target)) << text;
          EXPECT_EQ(after.group, before.group) << text;
          EXPECT_EQ(Pattern::parse(after.to_string()), after);
        }
      }
}

TEST(StructureDecay, BadOptions) {
  EXPECT_THROW(names("dense"), InvalidArgument);
  EXPECT_THROW(names("2:4", {.first_density = 0}), InvalidArgument);
  EXPECT_THROW(names("2:4", {.first_density = 1.5}), InvalidArgument);
  EXPECT_THROW(names("2:4", {.steps = -1}), InvalidArgument);
  EXPECT_THROW(names("2:4", {.epochs = -1}), InvalidArgument);
}

}  // namespace
}  // namespace coppice
