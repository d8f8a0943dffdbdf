// Ctrl-C and kill -9 in the middle: the input untouched, no output under its name.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>

#include "fixtures.h"
#include "subprocess.h"

namespace coppice::cli::test {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
namespace fs = std::filesystem;

// Large enough that a command is still at work when the signal comes.
class Interrupt : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    dir_ = new TempDir;
    make_tiny(*dir_ / "model", [](auto& spec) {
      spec.layers = 4;
      spec.hidden = 1024;
      spec.intermediate = 2048;
    });
    before_ = new std::map(snapshot(*dir_ / "model"));
  }
  static void TearDownTestSuite() {
    delete before_;
    delete dir_;
  }

  // Another name than the model's has appeared: the command is writing.
  static bool writing() { return names_in(dir_->path()).size() > 1; }
  static RunOptions interrupt_with(int signal) {
    RunOptions options;
    options.signal = signal;
    options.when = writing;
    return options;
  }
  static std::vector<std::string> slow_prune() {
    return {"prune", *dir_ / "model", "--pattern", "64:2:32", "--columns", "exact",
            "-o",    *dir_ / "out",   "--no-time"};
  }

  static TempDir* dir_;
  static std::map<std::string, std::string>* before_;
};
TempDir* Interrupt::dir_ = nullptr;
std::map<std::string, std::string>* Interrupt::before_ = nullptr;

TEST_F(Interrupt, SignalsRemoveThePartialOutput) {
  for (int signal : {SIGINT, SIGTERM, SIGHUP}) {
    Result result = coppice(slow_prune(), interrupt_with(signal));
    EXPECT_EQ(result.exit_code, 1);
    EXPECT_EQ(result.err_lines(), 1) << result.err;
    EXPECT_THAT(result.err, HasSubstr("coppice: error: "));
    EXPECT_EQ(names_in(dir_->path()), std::vector<std::string>{"model"});
    EXPECT_EQ(snapshot(*dir_ / "model"), *before_);
  }
}

TEST_F(Interrupt, TheTimesOfAFinishedOutput) {
  TempDir dir;
  RunOptions options;
  options.signal = SIGINT;
  options.when = [&] { return fs::exists(dir / "out"); };
  std::string tokens = "1";
  for (int i = 2; i <= 64; ++i) tokens += "," + std::to_string(i);
  Result result = coppice(
      {"prune", *dir_ / "model", "--pattern", "2:4", "-o", dir / "out", "--time", tokens}, options);
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, HasSubstr("the checkpoint itself is complete"));
  EXPECT_THAT(result.err, Not(HasSubstr("removed")));
  EXPECT_EQ(names_in(dir.path()), std::vector<std::string>{"out"});
}

TEST_F(Interrupt, MeasuredRowsStay) {
  TempDir dir;
  const std::string csv = dir / "rows.csv";
  RunOptions options;
  options.signal = SIGINT;
  options.when = [&] { return fs::exists(csv); };
  std::string tokens = "1";
  for (int i = 2; i <= 64; ++i) tokens += "," + std::to_string(i);
  Result result = coppice({"bench", "--pattern", "2:4", "--shape", "256x256", "--tokens", tokens,
                           "--threads", "1", "--csv", csv},
                          options);
  EXPECT_EQ(result.exit_code, 1);
  const std::string lines = read_file(csv);
  EXPECT_GE(std::count(lines.begin(), lines.end(), '\n'), 2);
  EXPECT_EQ(names_in(dir.path()), std::vector<std::string>{"rows.csv"});
}

TEST_F(Interrupt, KillLeavesInputAndNoOutput) {
  Result result = coppice(slow_prune(), interrupt_with(SIGKILL));
  EXPECT_EQ(result.signal, SIGKILL);
  EXPECT_FALSE(fs::exists(*dir_ / "out"));
  EXPECT_EQ(snapshot(*dir_ / "model"), *before_);
  // What is left has a temporary name, and does not stand in the way of a second try.
  for (const auto& name : names_in(dir_->path()))
    if (name != "model") fs::remove_all(*dir_ / name);
}

TEST_F(Interrupt, PackAsWell) {
  std::string pruned = *dir_ / "pruned", packed = *dir_ / "packed";
  ASSERT_EQ(
      coppice({"prune", *dir_ / "model", "--pattern", "2:4", "-o", pruned, "--no-time"}).exit_code,
      0);
  RunOptions options;
  options.signal = SIGINT;
  options.when = [] { return names_in(dir_->path()).size() > 2; };
  Result result = coppice({"pack", pruned, "--threads", "1", "-o", packed}, options);
  // Packing is fast: it may have been done already.
  if (result.exit_code != 0) {
    EXPECT_EQ(result.exit_code, 1);
    EXPECT_FALSE(fs::exists(packed));
    EXPECT_EQ(names_in(dir_->path()), (std::vector<std::string>{"model", "pruned"}));
  }
  fs::remove_all(pruned);
  fs::remove_all(packed);
}

}  // namespace
}  // namespace coppice::cli::test
