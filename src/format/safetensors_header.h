// The JSON header of a safetensors file: text to tensors and back. Not part of the public API.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "coppice/safetensors.h"

namespace coppice {

struct SafetensorsHeader {
  SafetensorsMetadata metadata;
  std::vector<StoredTensor> tensors;  ///< in the order of their data
};

/// Parses and checks a header. Untrusted input.
/// @param data_bytes bytes of the file after the header; the tensors must cover them exactly.
/// Throws FileError; the message starts with `file`.
SafetensorsHeader parse_header(std::string_view text, std::uint64_t data_bytes,
                               const std::string& file);

/// The text of a header, padded with spaces to a multiple of 8 bytes. Throws InvalidArgument.
/// @param tensors in the order in which they shall be listed, with their places.
std::string format_header(const std::vector<StoredTensor>& tensors,
                          const SafetensorsMetadata& metadata);

/// A name from a file, fit for one line of a message: control characters become '?', and a long
/// one is cut.
std::string printable(std::string_view name);

}  // namespace coppice
