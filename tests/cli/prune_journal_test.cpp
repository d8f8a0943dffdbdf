// Interrupted pruning goes on where it stopped.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/file.h>
#include <unistd.h>

#include "statistics_fixture.h"

namespace coppice::cli::test {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
namespace fs = std::filesystem;

class PruneJournal : public ::testing::Test {
 protected:
  // Wide enough that layers take a moment each.
  PruneJournal()
      : model(make_tiny(dir / "model",
                        [](auto& spec) {
                          spec.layers = 1;
                          spec.hidden = 256;
                          spec.intermediate = 384;
                        })),
        stats(write_statistics(model, dir / "stats")),
        journal(out() + ".journal") {}

  std::vector<std::string> command(const std::vector<std::string>& more = {}) const {
    std::vector<std::string> args = {"prune",   model, "--pattern", "2:4", "--method", "admm",
                                     "--stats", stats, "--no-time", "-o",  out(),      "--json"};
    args.insert(args.end(), more.begin(), more.end());
    return args;
  }
  std::string out() const { return (dir / "out").string(); }
  long layers_in_journal() const {
    if (!fs::exists(journal)) return 0;
    return std::ranges::count_if(
        names_in(journal), [](const std::string& name) { return name.ends_with(".safetensors"); });
  }
  // As soon as two layers are finished.
  RunOptions interrupt_with(int signal) const {
    RunOptions options;
    options.signal = signal;
    options.when = [this] { return layers_in_journal() >= 2; };
    return options;
  }
  // The output of a run that nobody interrupts, and its table.
  std::pair<std::map<std::string, std::string>, nlohmann::json> uninterrupted() const {
    std::vector<std::string> args = command();
    args[10] = (dir / "whole").string();
    const Result result = coppice(args);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return {snapshot(dir / "whole"), without_times(result)};
  }
  static nlohmann::json without_times(const Result& result) {
    nlohmann::json layers = result.json()["layers"];
    for (auto& layer : layers) layer.erase("seconds");
    return layers;
  }

  TempDir dir;
  std::string model, stats, journal;
};

TEST_F(PruneJournal, GoesOnAfterAnyInterruption) {
  const auto [bytes, layers] = uninterrupted();
  for (int signal : {SIGKILL, SIGINT}) {
    const Result stopped = coppice(command({"--threads", "2"}), interrupt_with(signal));
    EXPECT_EQ(stopped.exit_code, signal == SIGKILL ? -1 : 1);
    EXPECT_FALSE(fs::exists(out()));
    const long finished = layers_in_journal();
    ASSERT_GE(finished, 2);
    ASSERT_LT(finished, 7);
    if (signal == SIGINT) {
      EXPECT_THAT(stopped.err, HasSubstr("of 7 layers are finished and kept in '" + journal));
    }

    const Result resumed = coppice(command({"--threads", "1"}));
    ASSERT_EQ(resumed.exit_code, 0) << resumed.err;
    EXPECT_THAT(
        resumed.err,
        HasSubstr("going on where an earlier run stopped: " + std::to_string(finished) + " of 7"));
    EXPECT_EQ(snapshot(out()), bytes);
    EXPECT_EQ(without_times(resumed), layers);
    EXPECT_FALSE(fs::exists(journal));
    fs::remove_all(out());
  }
}

TEST_F(PruneJournal, FullDisk) {
  const auto [bytes, layers] = uninterrupted();
  RunOptions options;
  options.max_file_bytes = 300'000;  // 256 x 256 floats, but not 384 x 256
  const Result stopped = coppice(command(), options);
  EXPECT_EQ(stopped.exit_code, 1);
  EXPECT_THAT(stopped.err, HasSubstr("cannot write"));
  ASSERT_GE(layers_in_journal(), 1);
  const Result resumed = coppice(command({"--pack"}));
  ASSERT_EQ(resumed.exit_code, 0) << resumed.err;
  EXPECT_THAT(resumed.err, HasSubstr("going on"));
  ASSERT_EQ(coppice({"pack", dir / "whole", "--pattern", "2:4", "-o", dir / "packed"}).exit_code,
            0);
  EXPECT_EQ(snapshot(out()), snapshot(dir / "packed"));
}

TEST_F(PruneJournal, FullDiskWhileWritingTheOutput) {
  const auto [bytes, layers] = uninterrupted();
  RunOptions options;
  options.max_file_bytes = 500'000;  // every layer, but not the whole model
  const Result stopped = coppice(command(), options);
  EXPECT_EQ(stopped.exit_code, 1);
  EXPECT_THAT(stopped.err, HasSubstr("7 of 7 layers are finished and kept"));
  EXPECT_EQ(names_in(dir.path()),
            (std::vector<std::string>{"model", "out.journal", "stats", "whole"}));
  const Result resumed = coppice(command());
  ASSERT_EQ(resumed.exit_code, 0) << resumed.err;
  EXPECT_THAT(resumed.err, HasSubstr("7 of 7"));
  EXPECT_EQ(snapshot(out()), bytes);
  EXPECT_EQ(without_times(resumed), layers);
}

TEST_F(PruneJournal, OtherOptionsOrInputsAreRefused) {
  coppice(command(), interrupt_with(SIGKILL));
  ASSERT_GE(layers_in_journal(), 2);
  const auto left = [&] {
    auto files = snapshot(journal);
    std::erase_if(files,
                  [](const auto& file) { return file.first.find(".tmp-") != std::string::npos; });
    return files;
  }();
  const auto refused = [&](const std::vector<std::string>& more, const char* why) {
    const Result result = coppice(command(more));
    EXPECT_EQ(result.exit_code, 1);
    EXPECT_EQ(result.err_lines(), 1);
    EXPECT_THAT(result.err, HasSubstr(why));
    EXPECT_THAT(result.err, HasSubstr("--restart"));
    EXPECT_EQ(snapshot(journal), left);
  };
  refused({"--damping", "0.5"}, "--damping was null, is 0.5");
  refused({"--pattern-for", "*q_proj*=4:8"}, "q_proj.weight was \"2:4\", is \"4:8\"");
  refused({"--exclude", "*q_proj*"}, "q_proj.weight was \"2:4\", is not set");
  write_statistics(model, dir / "stats", {.seed = 5});
  refused({}, "--stats was");

  const Result result = coppice(command({"--restart"}));
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.err, Not(HasSubstr("going on")));
  EXPECT_FALSE(fs::exists(journal));
}

TEST_F(PruneJournal, DamagedOrInUse) {
  coppice(command(), interrupt_with(SIGKILL));
  ASSERT_GE(layers_in_journal(), 2);
  {
    const int fd = open(journal.c_str(), O_RDONLY | O_DIRECTORY);
    ASSERT_EQ(flock(fd, LOCK_EX | LOCK_NB), 0);
    const Result result = coppice(command());
    EXPECT_EQ(result.exit_code, 1);
    EXPECT_THAT(result.err, HasSubstr("another process is working on that output"));
    close(fd);
  }
  for (const auto& name : names_in(journal))
    if (name.ends_with(".safetensors")) truncate(fs::path(journal) / name, 1000);
  const Result result = coppice(command());
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, HasSubstr(journal));
  EXPECT_FALSE(fs::exists(out()));
  write_file(fs::path(journal) / "run.json", "{");
  EXPECT_THAT(coppice(command()).err, HasSubstr("cannot be read"));
  EXPECT_EQ(coppice(command({"--restart"})).exit_code, 0);
}

TEST_F(PruneJournal, NothingIsLeftWhereNoLayerWasFinished) {
  const Result result = coppice({"prune", model, "--pattern", "8:16", "--method", "obs", "--stats",
                                 stats, "--choice", "joint", "-o", out()});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_EQ(result.err_lines(), 1);
  EXPECT_EQ(names_in(dir.path()), (std::vector<std::string>{"model", "stats"}));
}

TEST_F(PruneJournal, MemoryBoundsWhatRunsSideBySide) {
  const auto bytes = uninterrupted().first;
  const Result result = coppice(command({"--threads", "5", "--memory", "0.000001"}));
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(snapshot(out()), bytes);
  EXPECT_EQ(
      coppice({"prune", model, "--pattern", "2:4", "--memory", "2", "-o", dir / "m"}).exit_code, 2);
  EXPECT_EQ(coppice({"prune", model, "--pattern", "2:4", "--restart", "-o", dir / "m"}).exit_code,
            2);
}

}  // namespace
}  // namespace coppice::cli::test
