#include "command.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <new>
#include <sstream>

#include "bench/baseline.h"
#include "console.h"
#include "coppice/error.h"
#include "coppice/linear.h"
#include "core/parallel_for.h"
#include "signals.h"

namespace coppice::cli {
namespace {

enum ExitCode { kOk = 0, kFailed = 1, kUsage = 2 };

constexpr const char* kDescription =
    "Coppice prunes the linear weights of a transformer checkpoint to an N:M pattern, stores them "
    "compressed, and multiplies by them.";

constexpr const char* kFooter =
    "Examples:\n"
    "  coppice inspect MODEL_DIR\n"
    "  coppice explain 64:2:8\n"
    "  coppice prune MODEL_DIR --pattern 2:4 -o PRUNED_DIR\n"
    "  coppice pack PRUNED_DIR -o PACKED_DIR\n"
    "  coppice verify PACKED_DIR --against MODEL_DIR\n"
    "\n"
    "Data goes to stdout, messages and progress to stderr. Exit codes: 0 done, 1 failed, 2 wrong "
    "usage.\n"
    "'coppice COMMAND --help' explains one command.";

std::vector<std::unique_ptr<Command>> all_commands() {
  std::vector<std::unique_ptr<Command>> commands;
  for (auto* make : {&make_inspect, &make_explain, &make_plan, &make_prune, &make_pack,
                     &make_unpack, &make_verify, &make_bench, &make_calibrate, &make_statistics})
    commands.push_back(make());
  return commands;
}

// CLI11's own exit codes start at 100; ours say only that the usage was wrong.
int report_parse_error(const CLI::App& app, const CLI::ParseError& error) {
  if (error.get_exit_code() == 0) {  // --help and --version
    std::ostringstream out;
    app.exit(error, out, out);
    print(out.str());
    flush_output();
    return kOk;
  }
  std::string command;
  for (const CLI::App* sub : app.get_subcommands()) command = " " + sub->get_name();
  // "--pattern is required" would hide the `--patern` that was typed.
  std::string fault = error.what();
  if (const auto unknown = app.remaining(true); !unknown.empty())
    fault = fmt::format("'{}' is not understood", unknown.front());
  report_error(fmt::format("{} (see 'coppice{} --help')", fault, command));
  return kUsage;
}

int parse_and_run(int argc, char** argv) {
  CLI::App app(kDescription, "coppice");
  app.footer(kFooter);
  app.set_version_flag("--version", version_text, "Show version, CPU target and CUDA support");
  app.require_subcommand(1);
  auto commands = all_commands();
  for (auto& command : commands) {
    CLI::App* sub = app.add_subcommand(command->name(), command->summary());
    sub->footer(command->details());
    command->declare(*sub);
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return report_parse_error(app, error);
  }
  int code = kOk;
  for (auto& command : commands)
    if (app.got_subcommand(command->name())) {
      if (command->times_dense()) bench::restart_with_fastest_openblas(argv);
      code = command->run();
    }
  flush_output();
  return code;
}

}  // namespace

void Command::add_json(CLI::App& app) {
  app.add_flag("--json", json_, "Print the data as one JSON document on stdout");
}

void Command::add_threads(CLI::App& app) {
  app.add_option("--threads", threads_, "Threads (default: all that this process may use)")
      ->check(CLI::Range(1, 1024))
      ->type_name("N");
}

void Command::add_device(CLI::App& app, const char* what, const char* by_default) {
  device_ = by_default;
  app.add_option("--device", device_,
                 fmt::format("{}: auto (a GPU if there is one), cpu or cuda", what))
      ->check(CLI::IsMember({"auto", "cpu", "cuda"}))
      ->type_name("DEVICE")
      ->capture_default_str();
}

int Command::threads() const { return threads_ > 0 ? threads_ : available_threads(); }

Pattern parse_pattern(const std::string& text) {
  try {
    return Pattern::parse(text);
  } catch (const InvalidArgument& error) {
    throw UsageError(error.what());
  }
}

void require_number(CLI::Option* option, double least, double most) {
  option->check([=](const std::string& text) {
    double value = 0;
    const bool number = CLI::detail::lexical_cast(text, value);
    if (number && value >= least && value <= most) return std::string();
    return fmt::format("'{}' is not a number from {:g} to {:g}", text, least, most);
  });
}

std::vector<std::string> split_list(const std::vector<std::string>& values) {
  std::vector<std::string> parts;
  for (const std::string& value : values) {
    std::istringstream stream(value);
    for (std::string part; std::getline(stream, part, ',');)
      if (!part.empty()) parts.push_back(part);
  }
  return parts;
}

std::string version_text() {
  return fmt::format("coppice {}\nCPU kernels: {}\nCUDA: {}", COPPICE_VERSION, cpu::target_name(),
                     cuda_text());
}

int run_command_line(int argc, char** argv) {
  reserve_standard_streams();
  install_signal_handlers();
  try {
    return parse_and_run(argc, argv);
  } catch (const UsageError& error) {
    report_error(error.what());
    return kUsage;
  } catch (const Error& error) {
    report_error(error.what());
  } catch (const std::bad_alloc&) {
    report_error(
        "not enough memory for the largest weight; use fewer --threads or another machine");
  } catch (const std::exception& error) {
    report_error(error.what());
  }
  return kFailed;
}

}  // namespace coppice::cli
