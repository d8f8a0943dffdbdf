// What a pattern means, as a table or JSON.
#pragma once

#include <string>
#include <vector>

#include "console.h"
#include "coppice/pattern.h"
#include "coppice/structure_decay.h"

namespace coppice::cli {

/// A pattern in words: meaning, density, bits per weight for each dtype, engines that take it.
std::string explain_text(const Pattern& pattern);
Json explain_json(const Pattern& pattern);

/// The patterns on the way to one.
std::string decay_text(const std::vector<DecayStep>& steps);
Json decay_json(const std::vector<DecayStep>& steps);

}  // namespace coppice::cli
