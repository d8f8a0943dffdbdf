// Exceptions of the library. Every message says what was got, what is needed and the way out.
#pragma once

#include <stdexcept>
#include <string>

namespace coppice {

/// Base of everything that the library throws on purpose. `what()` is one line for a user.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// A pattern, shape, dtype or option that makes no sense, or arguments that do not fit each other.
class InvalidArgument : public Error {
 public:
  using Error::Error;
};

/// A file that is absent, unreadable, malformed, hostile or could not be written.
class FileError : public Error {
 public:
  using Error::Error;
};

/// A device that is absent, or a device call that failed.
class DeviceError : public Error {
 public:
  using Error::Error;
};

/// The caller asked to stop (progress callback returned false, Ctrl-C in the command line).
class Cancelled : public Error {
 public:
  using Error::Error;
};

}  // namespace coppice
