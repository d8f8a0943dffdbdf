// What a pattern means, as a table or JSON.
#pragma once

#include <string>

#include "console.h"
#include "coppice/pattern.h"

namespace coppice::cli {

/// A pattern in words: meaning, density, bits per weight for each dtype, engines that take it.
std::string explain_text(const Pattern& pattern);
Json explain_json(const Pattern& pattern);

}  // namespace coppice::cli
