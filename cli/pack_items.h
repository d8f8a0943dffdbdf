// What `pack`, `unpack` and `prune --pack` share: which weights are stored packed, and the report.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "console.h"
#include "coppice/checkpoint.h"

namespace coppice::cli {

/// Bytes of the weight in the form that its item declares.
std::int64_t packed_bytes(const PackItem& item);

/// The items that a packed checkpoint can hold and that get smaller by it: none with the pattern
/// `dense`, none that would not shrink (tiny weights), and of a stacked tensor all or none.
/// @param items all weights of each stacked tensor, or those of it that were chosen.
std::vector<PackItem> worth_packing(std::span<const PackItem> items);

/// How an item is compressed: its segments, so many threads.
CompressOptions compress_options(const PackItem& item, int threads);

/// The JSON document of a command that turns one form into the other. @param layers an array.
Json written_json(const std::string& command, const std::string& input, const std::string& output,
                  Json layers, const WriteReport& written);

}  // namespace coppice::cli
