#include <fmt/format.h>

#include <algorithm>
#include <bit>

#include "coppice/error.h"
#include "coppice/permutation.h"
#include "format/checks.h"
#include "format/choice_code.h"
#include "format/ordered_ranges.h"

namespace coppice {
namespace {

// What is wrong with the next choice of `kept` of `of`; empty if nothing is.
std::string bitmask_fault(BitReader& reader, int kept, int of) {
  int count = 0;
  for (int first = 0; first < of; first += 32)
    count += std::popcount(reader.read(std::min(of - first, 32)));
  if (count == kept) return {};
  return fmt::format("keeps {} of {}, needs {}", count, of, kept);
}

std::string indices_fault(BitReader& reader, int bits, int kept, int of) {
  int previous = -1;
  for (int i = 0; i < kept; ++i) {
    const int index = static_cast<int>(reader.read(bits));
    if (index >= of) return fmt::format("has index {}, needs less than {}", index, of);
    if (index <= previous)
      return fmt::format("has index {} after {}, needs ascending indices", index, previous);
    previous = index;
  }
  return {};
}

// Checks one vector of `columns` or one row of `metadata`: a choice for each group, then zeros up
// to the byte's end.
class ChoiceChecker {
 public:
  ChoiceChecker(const Grid& grid, std::string_view array, ChoiceCode code,
                std::int32_t ColumnGroup::*kept, std::int32_t ColumnGroup::*of)
      : grid_(grid), array_(array), code_(code), kept_(kept), of_(of) {}

  /// @param bytes the choices of all groups. @param place what a message calls their owner.
  void check(std::span<const std::byte> bytes, std::string_view place, std::int64_t number) const {
    BitReader reader(bytes);
    std::int64_t bits = 0;
    for (const ColumnGroup& group : grid_.groups()) {
      const int kept = group.*kept_, of = group.*of_;
      std::string fault = code_.bitmask ? bitmask_fault(reader, kept, of)
                                        : indices_fault(reader, code_.bits, kept, of);
      if (!fault.empty()) [[unlikely]]
        throw InvalidArgument(
            fmt::format("{}: {} {}, group {} {}; the file is damaged or was "
                        "written wrongly",
                        array_, place, number, grid_.group_of(group.col), fault));
      bits += code_.size(kept, of);
    }
    if (reader.read(static_cast<int>(8 * std::ssize(bytes) - bits)) != 0)
      throw InvalidArgument(
          fmt::format("{}: {} {} has unused bits that are not 0", array_, place, number));
  }

 private:
  const Grid& grid_;
  std::string_view array_;
  ChoiceCode code_;
  std::int32_t ColumnGroup::*kept_;
  std::int32_t ColumnGroup::*of_;
};

// Checks `count` equal parts of an array.
void check_array(const ChoiceChecker& checker, std::span<const std::byte> bytes,
                 std::int64_t part_bytes, std::int64_t count, std::string_view place, int threads) {
  ordered_ranges(count, threads, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i)
      checker.check(bytes.subspan(static_cast<std::size_t>(i * part_bytes),
                                  static_cast<std::size_t>(part_bytes)),
                    place, i);
  });
}

}  // namespace

void validate(const SparseView& sparse, int threads) {
  check_sizes(sparse);
  const Grid& grid = *sparse.grid;
  if (!sparse.input_permutation.empty())
    check_permutation(sparse.input_permutation, grid.cols(), "input_permutation");
  if (grid.has_columns())
    check_array(
        {grid, "columns", grid.column_code(), &ColumnGroup::kept_blocks, &ColumnGroup::blocks},
        sparse.columns, grid.column_bytes_per_vector(), std::ssize(grid.vectors()), "vector",
        threads);
  if (grid.has_metadata())
    check_array(
        {grid, "metadata", grid.metadata_code(), &ColumnGroup::kept, &ColumnGroup::kept_cols},
        sparse.metadata, grid.metadata_bytes_per_row(), grid.rows(), "row", threads);
}

}  // namespace coppice
