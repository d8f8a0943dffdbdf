#include "coppice/pattern_choice.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

#include "coppice/error.h"
#include "files.h"

namespace coppice {
namespace {

using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

double diversity(const char* pattern) { return mask_diversity(Pattern::parse(pattern)); }

// Beyond 2:4, table of section 4.
TEST(MaskDiversity, HasThePublishedValues) {
  EXPECT_NEAR(diversity("16:2:5"), 0.3785, 5e-5);
  EXPECT_NEAR(diversity("32:2:5"), 0.3684, 5e-5);
  EXPECT_NEAR(diversity("64:2:5"), 0.3634, 5e-5);
  EXPECT_NEAR(diversity("128:2:5"), 0.3609, 5e-5);
  EXPECT_NEAR(diversity("16:2:8"), 0.2572, 5e-5);
  EXPECT_NEAR(diversity("32:2:8"), 0.2406, 5e-5);
  EXPECT_NEAR(diversity("64:2:8"), 0.2323, 5e-5);
  EXPECT_NEAR(diversity("128:2:8"), 0.2281, 5e-5);
}

TEST(MaskDiversity, CountsMasksOfEveryPattern) {
  EXPECT_NEAR(diversity("2:4"), std::log(6) / 4, 1e-12);
  EXPECT_NEAR(diversity("vw3/1:5"), std::log(5) / 15, 1e-12);
  EXPECT_NEAR(diversity("bw2x3/1:2"), std::log(2) / 12, 1e-12);
  EXPECT_NEAR(diversity("2:1/3:4"), (std::log(4) + 2 * std::log(3)) / 8, 1e-12);
  EXPECT_EQ(diversity("dense"), 0);
  EXPECT_TRUE(std::isfinite(diversity("1024:2/128:256")));
}

constexpr const char* kSpeeds =
    "# measured somewhere\n"
    "gpu,speedup,pattern,rows,cols,tokens\n"
    "x, 1.3, 2:4, 64, 32, 8\n"
    "x, 1.6, 64:2:5, 64, 32, 8\r\n"
    "x, 1.5, 128:2:5, 64, 32, 8\n"  // slower and less diverse than 64:2:5
    "x, 1.9, 64:2:8, 64, 32, 8\n"
    "x, 2.2, 128:2:8, 64, 32, 8\n"
    "\n"
    "x, 9, 128:2:8, 64, 32, 9\n";

TEST(ChoosePattern, TakesTheMostDiverseThatIsFastEnough) {
  const SpeedTable speeds = SpeedTable::parse(kSpeeds);
  ASSERT_EQ(speeds.entries().size(), 6u);
  auto choose = [&](double target) {
    return choose_pattern(speeds, 64, 32, 8, target).pattern.to_string();
  };
  EXPECT_EQ(choose(1), "dense");
  EXPECT_EQ(choose(1.2), "2:4");
  EXPECT_EQ(choose(1.3), "2:4");
  EXPECT_EQ(choose(1.4), "64:2:5");
  EXPECT_EQ(choose(1.7), "64:2:8");
  EXPECT_EQ(choose(2.2), "128:2:8");
  EXPECT_THAT([&] { choose(2.3); },
              ThrowsMessage<InvalidArgument>(HasSubstr("the fastest is 128:2:8 with 2.2")));
  EXPECT_THAT([&] { choose_pattern(speeds, 64, 33, 8, 2); },
              ThrowsMessage<InvalidArgument>(HasSubstr("64 x 33 with 8 tokens")));
}

TEST(Undominated, KeepsTheFront) {
  std::mt19937 random(1);
  std::uniform_int_distribution<int> integer(1, 12);
  for (int i = 0; i < 200; ++i) {
    std::vector<PatternCandidate> all(static_cast<std::size_t>(integer(random)));
    for (auto& c : all) c = {Pattern::parse("2:4"), 1.0 * integer(random), 1.0 * integer(random)};
    const auto front = undominated(all);
    auto beats = [](const PatternCandidate& a, const PatternCandidate& b) {
      return a.speedup >= b.speedup && a.diversity >= b.diversity &&
             (a.speedup > b.speedup || a.diversity > b.diversity);
    };
    for (const auto& c : front)
      for (const auto& other : all) EXPECT_FALSE(beats(other, c));
    for (const auto& c : all)  // each is in the front, or something of the front is as good
      EXPECT_TRUE(std::ranges::any_of(front, [&](const PatternCandidate& f) {
        return f.speedup >= c.speedup && f.diversity >= c.diversity;
      }));
  }
}

TEST(SpeedTable, ReadsWhatTheBenchmarkWrites) {
  const auto cpu = SpeedTable::parse(
      "# two cores\nset,pattern,tokens,cols,rows,baseline_us,baseline,speedup,check\n"
      ",2:4,256,64,128,50.5,\"OpenBLAS 0.3 (Zen, \"\"openmp\"\")\",1.5,ok\n",
      "cpu.csv");
  ASSERT_EQ(cpu.entries().size(), 1u);
  EXPECT_EQ(cpu.entries()[0].rows, 128);
  EXPECT_EQ(cpu.entries()[0].speedup, 1.5);
  EXPECT_DOUBLE_EQ(cpu.entries()[0].dense_seconds, 50.5e-6);
  const auto gpu =
      SpeedTable::parse("pattern,tokens,cols,rows,us,dense_us,ratio\n64:2:8,1,2,3,4,8,2\n");
  EXPECT_EQ(gpu.entries()[0].speedup, 2);
  EXPECT_DOUBLE_EQ(gpu.entries()[0].dense_seconds, 8e-6);
  EXPECT_EQ(SpeedTable::parse(kSpeeds).entries()[0].dense_seconds, 0);
  const auto found = measured_patterns(gpu, 3, 2, 1);
  ASSERT_EQ(found.size(), 1u);
  EXPECT_DOUBLE_EQ(found[0].dense_seconds, 8e-6);
  EXPECT_THROW(measured_patterns(gpu, 3, 2, 2), InvalidArgument);
}

TEST(SpeedTable, SaysWhatIsWrongAndWhere) {
  auto fault = [](const std::string& text) {
    try {
      SpeedTable::parse(text, "speeds.csv");
    } catch (const FileError& error) {
      return std::string(error.what());
    }
    return std::string("no error");
  };
  const std::string names = "pattern,rows,cols,tokens,speedup\n";
  EXPECT_THAT(fault(""), HasSubstr("names the columns"));
  EXPECT_THAT(fault("pattern,rows,cols,speedup\n"), HasSubstr("names no column 'tokens'"));
  EXPECT_THAT(fault(names + "2:4,1,1,1\n"), HasSubstr("speeds.csv, line 2: has 4 fields"));
  EXPECT_THAT(fault(names + "\n5:4,1,1,1,1\n"), HasSubstr("line 3"));
  for (const char* bad : {"0", "-1", "nan", "inf", "1x", ""}) {
    EXPECT_THAT(fault(names + "2:4,1,1,1," + bad + "\n"), HasSubstr("speedup is")) << bad;
    EXPECT_THAT(fault(names + "2:4," + bad + ",1,1,1\n"), HasSubstr("rows is")) << bad;
  }
  testing::TempDir dir;
  EXPECT_THAT([&] { SpeedTable::open(dir / "none.csv"); },
              ThrowsMessage<FileError>(HasSubstr("cannot be read")));
  EXPECT_THAT([&] { SpeedTable::open(dir.path()); },
              ThrowsMessage<FileError>(HasSubstr("cannot be read")));
  testing::write_file(dir / "speeds.csv", kSpeeds);
  EXPECT_EQ(SpeedTable::open(dir / "speeds.csv").entries().size(), 6u);
}

// Times are small integers, so that the least error for every time can be tabulated.
double least_error(const std::vector<std::vector<LayerOption>>& layers, int budget) {
  std::vector<double> best(static_cast<std::size_t>(budget) + 1, 0);
  for (const auto& options : layers) {
    std::vector<double> next(best.size(), std::numeric_limits<double>::infinity());
    for (std::size_t time = 0; time < best.size(); ++time)
      for (const LayerOption& option : options) {
        const auto used = static_cast<std::size_t>(option.time);
        if (used <= time) next[time] = std::min(next[time], best[time - used] + option.error);
      }
    best = next;
  }
  return best.back();
}

TEST(AllocatePatterns, ComesCloseToTheBestAndBoundsIt) {
  std::mt19937 random(2);
  auto pick = [&](int low, int high) { return std::uniform_int_distribution(low, high)(random); };
  std::uniform_real_distribution<double> real(0, 1);
  double found = 0, best = 0;
  int solved = 0;
  for (int i = 0; i < 500; ++i) {
    std::vector<std::vector<LayerOption>> layers(static_cast<std::size_t>(pick(1, 12)));
    int fastest = 0, slowest = 0;
    for (auto& options : layers) {
      options.resize(static_cast<std::size_t>(pick(1, 6)));
      int low = 1000, high = 0;
      for (LayerOption& option : options) {
        const int time = pick(1, 40);
        option = {Pattern::parse("2:4"), 1.0 * time, real(random) / time};
        low = std::min(low, time);
        high = std::max(high, time);
      }
      fastest += low;
      slowest += high;
    }
    const int budget = pick(fastest, slowest);
    const Allocation result = allocate_patterns(layers, budget);
    const double least = least_error(layers, budget);
    ASSERT_EQ(result.choices.size(), layers.size());
    double time = 0, error = 0;
    for (std::size_t l = 0; l < layers.size(); ++l) {
      time += layers[l][result.choices[l]].time;
      error += layers[l][result.choices[l]].error;
    }
    EXPECT_LE(time, budget);
    EXPECT_DOUBLE_EQ(result.time, time);
    EXPECT_DOUBLE_EQ(result.error, error);
    EXPECT_GE(result.error, least - 1e-12);
    EXPECT_LE(result.error_bound, least + 1e-12);
    found += result.error;
    best += least;
    solved += result.error <= least + 1e-12;
  }
  EXPECT_LT(found, 1.02 * best);
  EXPECT_GT(solved, 300);
}

TEST(AllocatePatterns, RefusesWhatCannotBe) {
  const Pattern p = Pattern::parse("2:4");
  using Layers = std::vector<std::vector<LayerOption>>;
  EXPECT_THAT(
      [&] {
        allocate_patterns(Layers{{{p, 2, 0}}, {{p, 3, 1}, {p, 9, 0}}}, 4);
      },
      ThrowsMessage<InvalidArgument>(HasSubstr("take 5 in all")));
  EXPECT_THAT([&] { allocate_patterns(Layers{{}}, 4); },
              ThrowsMessage<InvalidArgument>(HasSubstr("layer 0 has no options")));
  EXPECT_THAT(
      [&] {
        allocate_patterns(Layers{{{p, 1, NAN}}}, 4);
      },
      ThrowsMessage<InvalidArgument>(HasSubstr("must be finite")));
  EXPECT_THAT(
      [&] {
        allocate_patterns(Layers{{{p, 1, 0}}}, NAN);
      },
      ThrowsMessage<InvalidArgument>(HasSubstr("more than the budget")));
  EXPECT_TRUE(allocate_patterns({}, 0).choices.empty());
}

}  // namespace
}  // namespace coppice
