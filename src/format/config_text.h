// The text of a config.json: read as Python's json reads it, and changed without touching any other
// byte. Not part of the public API.
#pragma once

#include <string>
#include <string_view>

namespace coppice {

/// The text with `null` for the numbers that Python's json writes and reads beyond JSON: NaN,
/// Infinity and -Infinity, outside strings. What is no JSON otherwise stays no JSON.
std::string without_nonfinite(std::string_view text);

/// @param text a JSON object, or what without_nonfinite makes one
/// @returns the text without the members of that name at the top level
std::string without_member(std::string_view text, std::string_view key);

/// @param text a JSON object, or what without_nonfinite makes one
/// @param value JSON text, indented by 2
/// @returns the text with that member at its end, instead of those of the same name
std::string with_member(std::string_view text, std::string_view key, std::string_view value);

}  // namespace coppice
