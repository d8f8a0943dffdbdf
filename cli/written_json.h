// What `pack` and `unpack` share: the report.
#pragma once

#include <string>

#include "console.h"
#include "coppice/checkpoint.h"

namespace coppice::cli {

/// The JSON document of a command that turns one form into the other. @param layers an array.
Json written_json(const std::string& command, const std::string& input, const std::string& output,
                  Json layers, const WriteReport& written);

}  // namespace coppice::cli
