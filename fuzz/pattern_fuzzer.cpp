// Any text as a pattern and as its JSON: refused with InvalidArgument, or printed and read back the
// same.
#include <cstdlib>
#include <string_view>

#include "coppice/error.h"
#include "coppice/grid.h"
#include "coppice/pattern.h"

namespace {

using coppice::Pattern;

void require(bool holds) {
  if (!holds) std::abort();
}

void check(const Pattern& pattern) {
  require(Pattern::parse(pattern.to_string()) == pattern);
  require(Pattern::from_json(pattern.to_json()) == pattern);
  require(Pattern::make(pattern.vec_rows, pattern.block_cols, pattern.kept, pattern.group,
                        pattern.inner_kept) == pattern);
  require(pattern.density() > 0 && pattern.density() <= 1);
  require(!pattern.describe().empty());
  const coppice::Grid grid(pattern, {7, 1030, {}, {}});
  require(grid.kept() <= grid.live_cols() && grid.live_cols() <= grid.cols());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    check(Pattern::parse(text));
  } catch (const coppice::InvalidArgument&) {
  }
  try {
    check(Pattern::from_json(text));
  } catch (const coppice::InvalidArgument&) {
  }
  return 0;
}
