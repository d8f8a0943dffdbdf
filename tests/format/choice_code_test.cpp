#include "format/choice_code.h"

#include <gtest/gtest.h>

#include <numeric>

#include "format/choice_set.h"
#include "format/random_case.h"

namespace coppice {
namespace {

using testing::Case;
using testing::Random;

TEST(Bits, ComeBackAsTheyWereWritten) {
  Random random(41);
  for (int i = 0; i < 500; ++i) {
    std::vector<std::pair<std::uint64_t, int>> fields(static_cast<std::size_t>(random.pick(0, 40)));
    std::int64_t total = 0;
    for (auto& [bits, count] : fields) {
      count = random.pick(0, BitWriter::kMaxBits);
      bits = random.bits() & low_bits(count);
      total += count;
    }
    const auto size = static_cast<std::size_t>((total + 7) / 8);
    std::vector<std::byte> bytes(size + 4, std::byte{0xee});
    BitWriter writer(bytes.data());
    for (auto [bits, count] : fields) writer.write(bits, count);
    writer.finish();
    for (std::size_t b = size; b < bytes.size(); ++b) EXPECT_EQ(bytes[b], std::byte{0xee});
    bytes.resize(size);
    BitReader reader(bytes);
    for (auto [bits, count] : fields) EXPECT_EQ(reader.read(count), bits);
    EXPECT_EQ(reader.read(BitReader::kMaxBits), 0u);  // zeros behind the end
  }
}

TEST(Bits, CopyFromAnyPlace) {
  Random random(42);
  std::vector<std::byte> in(40);
  for (std::byte& b : in) b = static_cast<std::byte>(random.bits());
  const auto bit = [](const std::vector<std::byte>& bytes, std::int64_t at) {
    return static_cast<int>(bytes[static_cast<std::size_t>(at / 8)]) >> (at % 8) & 1;
  };
  for (int i = 0; i < 500; ++i) {
    const int first = random.pick(0, 319), count = random.pick(0, 320 - first);
    std::vector<std::byte> out(static_cast<std::size_t>((count + 7) / 8));
    copy_bits(in, first, count, out.data());
    for (int k = 0; k < 8 * static_cast<int>(out.size()); ++k)
      ASSERT_EQ(bit(out, k), k < count ? bit(in, first + k) : 0);
  }
}

TEST(Choice, EveryPatternReadsWhatItWrote) {
  Random random(43);
  for (int i = 0; i < 2000; ++i) {
    const int of = random.pick(1, 256), kept = random.pick(1, of);
    const ChoiceCode code = choice_code(random.pick(1, of), of);
    const std::vector<int> chosen = random.choose(kept, of);
    std::vector<std::int32_t> things(chosen.begin(), chosen.end());
    Mask mask(1, 256);
    for (int thing : chosen) mask.set(0, thing);
    ColumnGroup group;
    group.cols = group.blocks = of;
    group.block_cols = 1;
    const ChoiceSet set = ChoiceSet::columns(mask.row(0), group);
    EXPECT_EQ(set.count(), kept);

    const std::int64_t bits = code.size(kept, of);
    std::vector<std::byte> bytes(static_cast<std::size_t>((bits + 7) / 8));
    BitWriter writer(bytes.data());
    set.write(writer, code);
    writer.finish();
    BitReader reader(bytes);
    std::vector<std::int32_t> read(chosen.size());
    read_choice(reader, code, kept, of, 1000, read.data());
    for (std::size_t k = 0; k < chosen.size(); ++k) ASSERT_EQ(read[k], 1000 + chosen[k]);
  }
}

// The three readers that packers use, against the mask.
TEST(StoredColumns, AreTheStoredMask) {
  Random random(44);
  for (int i = 0; i < 800 && !HasFailure(); ++i) {
    const Case c = testing::random_case(random);
    SCOPED_TRACE(c.name());
    const SparseMatrix sparse = compress(c.view(), c.mask, c.pattern, c.options);
    const SparseView view = sparse.view();
    const Grid& grid = *sparse.grid;
    StoredColumns stored(view);
    std::vector<std::int32_t> live(static_cast<std::size_t>(grid.live_cols()));
    std::vector<std::int32_t> places(static_cast<std::size_t>(grid.kept()));
    for (std::int64_t v = 0; v < std::ssize(grid.vectors()); ++v) {
      const RowVector rows = grid.vectors()[static_cast<std::size_t>(v)];
      read_live_columns(view, v, live);
      EXPECT_TRUE(std::ranges::is_sorted(live));
      stored.seek(v);
      for (std::int64_t r = rows.row; r < rows.row + rows.rows; ++r) {
        read_row_choice(view, r, places);
        EXPECT_TRUE(std::ranges::is_sorted(places));
        const auto columns = stored.row(r);
        ASSERT_EQ(columns.size(), places.size());
        for (std::size_t k = 0; k < places.size(); ++k) {
          std::int64_t col = live[static_cast<std::size_t>(places[k])];
          if (!view.input_permutation.empty())
            col = view.input_permutation[static_cast<std::size_t>(col)];
          ASSERT_EQ(columns[k], col);
          const auto weight = testing::element(sparse.values, c.dtype,
                                               r * grid.kept() + static_cast<std::int64_t>(k));
          ASSERT_EQ(weight, testing::element(c.dense, c.dtype, r * c.cols + col));
        }
      }
    }
  }
}

}  // namespace
}  // namespace coppice
