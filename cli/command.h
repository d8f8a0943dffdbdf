// The one interface of a subcommand, and the options that several of them share.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "coppice/pattern.h"
#include "device.h"

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace coppice::cli {

/// One subcommand: declares its options, then runs. One file each.
class Command {
 public:
  Command() = default;
  Command(const Command&) = delete;
  Command& operator=(const Command&) = delete;
  virtual ~Command() = default;

  virtual std::string name() const = 0;
  /// One line for the list of commands.
  virtual std::string summary() const = 0;
  /// What follows the options in `--help`: examples first.
  virtual std::string details() const = 0;
  virtual void declare(CLI::App& app) = 0;
  /// Whether a dense product of this machine's library will be timed.
  virtual bool times_dense() const { return false; }
  /// Returns the exit code; throws UsageError or coppice::Error.
  virtual int run() = 0;

 protected:
  void add_json(CLI::App& app);
  void add_threads(CLI::App& app);
  /// @param what what the device is for, to begin the option's help.
  void add_device(CLI::App& app, const char* what, const char* by_default);

  bool json_ = false;
  /// Threads to use: `--threads`, or all that this process may run on.
  int threads() const;
  /// Throws DeviceError if `--device` names one that this build or machine does not have.
  Device device() const { return resolve_device(device_); }
  const std::string& asked_device() const { return device_; }

 private:
  std::string device_ = "cpu";
  int threads_ = 0;
};

std::unique_ptr<Command> make_inspect();
std::unique_ptr<Command> make_explain();
std::unique_ptr<Command> make_prune();
std::unique_ptr<Command> make_pack();
std::unique_ptr<Command> make_unpack();
std::unique_ptr<Command> make_verify();
std::unique_ptr<Command> make_bench();
std::unique_ptr<Command> make_calibrate();
std::unique_ptr<Command> make_plan();
std::unique_ptr<Command> make_statistics();

/// Parses a pattern that the user typed. Throws UsageError with the grammar.
Pattern parse_pattern(const std::string& text);

/// Refuses values of an option that are no numbers from `least` to `most`; NaN is none.
void require_number(CLI::Option* option, double least, double most);

/// Splits "a,b,c" and repeated options into one list.
std::vector<std::string> split_list(const std::vector<std::string>& values);

/// "coppice 0.1.0", the instruction set of the CPU kernels, and whether there is CUDA.
std::string version_text();

/// Runs the whole command line; returns the exit code.
int run_command_line(int argc, char** argv);

}  // namespace coppice::cli
