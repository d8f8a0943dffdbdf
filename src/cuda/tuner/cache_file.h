// The file that tuned choices are kept in. Pure host code; safe between processes.
#pragma once

#include <map>
#include <string>

namespace coppice::cuda {

/// What was found for a key.
struct CacheEntry {
  std::string tile;  // tile_name of the fastest
  int token_group = 1;
  double seconds = 0, untuned_seconds = 0;
  bool operator==(const CacheEntry&) const = default;
};

using CacheEntries = std::map<std::string, CacheEntry>;  // by TuneKey::text()

/// Reads the text of a cache file. Entries that are not whole are left out. @returns false if it is
/// no cache file at all; `entries` is then empty.
bool parse_cache(const std::string& text, CacheEntries& entries);

/// The text of a cache file.
std::string cache_text(const CacheEntries& entries);

/// The entries of a file; none if it is not there. If it cannot be read or parsed, `warning` says
/// so.
CacheEntries read_cache(const std::string& file, std::string* warning);

/// Adds entries to a file, those of the same key replaced; what other processes added meanwhile
/// stays. Makes the directories above it. The file is replaced as a whole: a reader sees the old or
/// the new one. A damaged file is replaced. If it cannot be written, `warning` says so.
void merge_into_cache(const std::string& file, const CacheEntries& found, std::string* warning);

}  // namespace coppice::cuda
