// The parts below the commands: units, tables, the progress bar, explanations.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <limits>

#include "command.h"
#include "console.h"
#include "coppice/grid.h"
#include "explain.h"
#include "files.h"
#include "plan_gpu.h"
#include "progress.h"
#include "table.h"
#include "units.h"

namespace coppice::cli {
namespace {

using coppice::testing::TempDir;
using ::testing::HasSubstr;
using ::testing::Not;

TEST(Units, Bytes) {
  EXPECT_EQ(human_bytes(0), "0 B");
  EXPECT_EQ(human_bytes(999), "999 B");
  EXPECT_EQ(human_bytes(1000), "1.00 kB");
  EXPECT_EQ(human_bytes(90868376), "90.9 MB");
  EXPECT_EQ(human_bytes(999.6e6), "1.00 GB");
  EXPECT_EQ(human_bytes(123e18), "123000 PB");
}

TEST(Units, Seconds) {
  EXPECT_EQ(human_seconds(85e-9), "85 ns");
  EXPECT_EQ(human_seconds(12.34e-6), "12.3 us");
  EXPECT_EQ(human_seconds(4.564e-3), "4.56 ms");
  EXPECT_EQ(human_seconds(120.0), "120 s");
  EXPECT_EQ(clock_time(187.2), "3:07");
  EXPECT_EQ(clock_time(3723), "1:02:03");
}

TEST(Units, CountsAndFactors) {
  EXPECT_EQ(human_count(9999), "9999");
  EXPECT_EQ(human_count(22713216), "22.7 M");
  EXPECT_EQ(percent(0.50125), "50.1 %");
  EXPECT_EQ(times_text(1.868), "1.87x");
  EXPECT_EQ(times_text(123.4), "123x");
}

TEST(Units, Shapes) {
  EXPECT_EQ(parse_shape("4096x1024"), (std::pair<std::int64_t, std::int64_t>{4096, 1024}));
  for (const char* bad :
       {"", "x", "4096", "4096x", "x4", "0x4", "4x-1", "4 x 4", "4x4x4", "99999999999999999999x1"})
    EXPECT_FALSE(parse_shape(bad)) << bad;
}

TEST(Table, AlignsAndRules) {
  Table table({{"layer", Align::left}, {"size"}});
  table.add({"encoder", "5"});
  table.add({"x", "12345"});
  table.add_total({"total", "12350"});
  EXPECT_EQ(table.to_string(),
            "layer     size\n"
            "-------  -----\n"
            "encoder      5\n"
            "x        12345\n"
            "-------  -----\n"
            "total    12350\n");
}

TEST(Table, CountsCodePointsAndStopsControlCharacters) {
  Table table({{"layer", Align::left}, {"n"}});
  table.add({"\xc3\xa4\xc3\xb6", "1"});
  table.add({"a\x1b[2J\n", "2"});
  std::string text = table.to_string();
  EXPECT_THAT(text, HasSubstr("\xc3\xa4\xc3\xb6      1\n"));
  EXPECT_THAT(text, HasSubstr("a?[2J?  2\n"));
}

TEST(Progress, RendersBarRateAndEta) {
  std::string text = Progress::render("pruning", 50'000'000, 100'000'000, 2.0, "layer.0", 100);
  EXPECT_EQ(text, "pruning [############............]  50 %  25.0 MB/s  ETA 0:02  layer.0");
}

TEST(Progress, NeverLongerThanTheTerminalAndNeverDividesByZero) {
  for (int columns : {0, 1, 20, 79})
    EXPECT_LE(Progress::render("packing", 1, 3, 9.0, std::string(300, 'n'), columns).size(),
              static_cast<std::size_t>(std::max(columns - 1, 0)));
  EXPECT_THAT(Progress::render("packing", 0, 0, 0.0, "a\nb", 80), HasSubstr("100 %  a?b"));
  EXPECT_THAT(Progress::render("packing", 0, 10, 0.0, "", 80), Not(HasSubstr("ETA")));
}

TEST(Explain, SaysWhatAPatternMeans) {
  Pattern pattern = Pattern::parse("64:2:8");
  std::string text = explain_text(pattern);
  EXPECT_THAT(text, HasSubstr("64:2:8 (V:N:M)"));
  EXPECT_THAT(text, HasSubstr(pattern.describe()));
  EXPECT_THAT(text, HasSubstr("Density 25.0 %"));
  EXPECT_THAT(text, HasSubstr("BF16"));
  EXPECT_THAT(text, HasSubstr("Sparse Tensor Cores: yes"));
  EXPECT_THAT(explain_text(Pattern::parse("vw32/8:32")), HasSubstr("Sparse Tensor Cores: no"));
}

TEST(Explain, JsonHoldsTheGridsBits) {
  for (const char* name :
       {"dense", "2:4", "3:7", "vw32/8:32", "bw4x4/8:32", "64:2:8", "64:3/6:8"}) {
    Pattern pattern = Pattern::parse(name);
    Json json = explain_json(pattern);
    EXPECT_EQ(json["pattern"], pattern.to_string());
    EXPECT_EQ(json["bits_per_weight"]["F32"],
              Grid(pattern, {4096, 4096, {}, {}}).bits_per_weight(Dtype::f32));
  }
}

// As in a container that runs under another user than its image was made for.
TEST(Plan, AHomeThatCannotBeEnteredHasNoConstants) {
  const TempDir home;
  ASSERT_EQ(chmod(home.path().c_str(), 0), 0);
  const pid_t child = fork();
  if (child == 0) {
    if (geteuid() == 0 && setresuid(65534, 65534, 65534) != 0) _exit(2);
    setenv("HOME", home.path().c_str(), 1);
    unsetenv("XDG_CACHE_HOME");
    unsetenv("COPPICE_GPU_MODEL");
    try {
      _exit(plan_gpu("", "", false).name.empty() ? 3 : 0);
    } catch (...) {
      _exit(4);
    }
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  chmod(home.path().c_str(), 0700);  // or it could not be removed
  EXPECT_EQ(status, 0);
}

TEST(Options, SplitsLists) {
  EXPECT_THAT(split_list({"2:4,4:8", "64:2:8"}), ::testing::ElementsAre("2:4", "4:8", "64:2:8"));
  EXPECT_TRUE(split_list({",", ""}).empty());
}

TEST(Options, AnUnknownPatternIsAUsageErrorWithTheGrammar) {
  try {
    parse_pattern("2of4");
    FAIL();
  } catch (const UsageError& error) {
    EXPECT_THAT(error.what(), HasSubstr("2of4"));
    EXPECT_THAT(error.what(), HasSubstr(std::string(pattern_grammar())));
  }
}

}  // namespace
}  // namespace coppice::cli
