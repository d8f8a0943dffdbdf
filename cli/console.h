// What a command says, and where: data on stdout, everything else on stderr.
#pragma once

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>

namespace coppice::cli {

using Json = nlohmann::ordered_json;

/// A usage mistake: one line and exit code 2. Anything else that goes wrong is a coppice::Error and
/// exit code 1.
class UsageError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Called first: makes sure that the numbers of stdin, stdout and stderr are taken. Where one came
/// in closed, the first output file would get its number, and with it what is printed.
void reserve_standard_streams();

/// Writes text to stdout; throws FileError if it cannot be written (a full disk, for instance).
void print(std::string_view text);

/// Writes one JSON document to stdout.
void print_json(const Json& json);

/// Flushes stdout; throws FileError if something that was printed could not be written.
void flush_output();

/// Writes text to stderr, if that can be written.
void say(std::string_view text);

/// Writes one line "coppice: text" to stderr.
void note(std::string_view text);

/// Writes one line "coppice: error: text" to stderr; line breaks and control characters inside the
/// text become spaces.
void report_error(std::string_view text);

/// True if stderr is a terminal.
bool interactive();

}  // namespace coppice::cli
