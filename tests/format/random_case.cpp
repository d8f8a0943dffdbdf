#include "format/random_case.h"

#include <fmt/format.h>

#include <algorithm>

namespace coppice::testing {
namespace {

constexpr Dtype kDtypes[] = {Dtype::f32, Dtype::f16, Dtype::bf16, Dtype::f8_e4m3, Dtype::i8};

std::uint32_t low_mask(int bits) { return bits >= 32 ? ~0u : (1u << bits) - 1; }

bool is_zero(Dtype dtype, std::uint32_t bits) {
  return dtype == Dtype::i8 ? bits == 0 : (bits & low_mask(dtype_bits(dtype) - 1)) == 0;
}

// Appends bits to a byte array, lowest first.
class BitList {
 public:
  void add(std::uint32_t value, int bits) {
    for (int i = 0; i < bits; ++i) list_.push_back(value >> i & 1);
  }
  void to_bytes(std::vector<std::byte>& out) const {
    const std::size_t start = out.size();
    out.resize(start + (list_.size() + 7) / 8);
    for (std::size_t i = 0; i < list_.size(); ++i)
      if (list_[i]) out[start + i / 8] |= std::byte{1} << (i % 8);
  }

 private:
  std::vector<bool> list_;
};

void add_choice(BitList& bits, ChoiceCode code, const std::vector<int>& chosen, int of) {
  if (!code.bitmask) {
    for (int index : chosen) bits.add(static_cast<std::uint32_t>(index), code.bits);
    return;
  }
  for (int i = 0; i < of; ++i) bits.add(std::ranges::find(chosen, i) != chosen.end() ? 1 : 0, 1);
}

// Things of `of` for which `wanted` holds, and the lowest others up to `kept`.
template <typename Wanted>
std::vector<int> fill_up(int kept, int of, Wanted wanted) {
  std::vector<int> chosen, others;
  for (int i = 0; i < of; ++i) (wanted(i) ? chosen : others).push_back(i);
  for (std::size_t i = 0; std::ssize(chosen) < kept; ++i) chosen.push_back(others[i]);
  std::ranges::sort(chosen);
  return chosen;
}

}  // namespace

std::string Case::name() const {
  return fmt::format("{} {}x{} {} permuted:{} segments:{}/{}", pattern.to_string(), rows, cols,
                     dtype_name(dtype), !options.input_permutation.empty(),
                     options.row_segments.size(), options.col_segments.size());
}

std::uint32_t element(const std::vector<std::byte>& data, Dtype dtype, std::int64_t index) {
  std::uint32_t bits = 0;
  const int width = dtype_bytes(dtype);
  std::memcpy(&bits, data.data() + index * width, static_cast<std::size_t>(width));
  return bits;
}

void set_element(std::vector<std::byte>& data, Dtype dtype, std::int64_t index,
                 std::uint32_t bits) {
  const int width = dtype_bytes(dtype);
  std::memcpy(data.data() + index * width, &bits, static_cast<std::size_t>(width));
}

Pattern random_pattern(Random& random) {
  const int group = random.chance(0.1) ? random.pick(1, 256) : random.pick(1, 40);
  const int kept = random.chance(0.5) ? random.pick(1, std::min(group, 8)) : random.pick(1, group);
  const int vec_rows = random.chance(0.4) ? 1 : random.pick(1, 9);
  switch (random.pick(0, 4)) {
    case 0:
      return Pattern::make(vec_rows, 1, kept, group, random.pick(1, kept));
    case 1:
      return Pattern::make(vec_rows, random.chance(0.2) ? random.pick(60, 140) : random.pick(1, 9),
                           kept, group);
    case 2:
      return Pattern::parse("2:4");
    default:
      return Pattern::make(vec_rows, 1, kept, group);
  }
}

std::vector<std::int64_t> random_segments(Random& random, int size) {
  std::vector<std::int64_t> segments;
  if (random.chance(0.5)) return segments;
  int left = size;
  for (int parts = random.pick(0, 3); parts > 0; --parts) {
    segments.push_back(random.pick(0, left));
    left -= static_cast<int>(segments.back());
  }
  segments.push_back(left);
  return segments;
}

Case random_case(Random& random, const Pattern& pattern, int rows, int cols,
                 const CaseOptions& how) {
  Case c;
  c.pattern = pattern;
  c.rows = rows;
  c.cols = cols;
  c.dtype = kDtypes[random.pick(0, 4)];
  if (how.segments) {
    c.options.row_segments = random_segments(random, rows);
    c.options.col_segments = random_segments(random, cols);
  }
  std::vector<std::uint32_t> permutation(static_cast<std::size_t>(cols));
  std::iota(permutation.begin(), permutation.end(), 0u);
  if (how.permutation && random.chance(0.4)) {
    random.shuffle(permutation);
    c.options.input_permutation = permutation;
  }
  c.mask = Mask(rows, cols);
  c.dense.resize(static_cast<std::size_t>(rows * cols * dtype_bytes(c.dtype)));

  const Grid grid(pattern, {rows, cols, c.options.row_segments, c.options.col_segments});
  const double full = how.underfull && random.chance(0.5) ? 0.8 : 1;
  for (const RowVector& vector : grid.vectors()) {
    for (const ColumnGroup& group : grid.groups()) {
      const auto blocks = random.choose(group.kept_blocks, group.blocks);
      for (std::int64_t row = vector.row; row < vector.row + vector.rows; ++row) {
        for (int place : random.choose(group.kept, group.kept_cols)) {
          if (!random.chance(full)) continue;
          const auto block = blocks[static_cast<std::size_t>(place / group.block_cols)];
          const std::int64_t col =
              group.col + std::int64_t{block} * group.block_cols + place % group.block_cols;
          const std::uint32_t original = permutation[static_cast<std::size_t>(col)];
          std::uint32_t bits = random.bits() & low_mask(dtype_bits(c.dtype));
          if (how.nonzero && is_zero(c.dtype, bits)) bits = 1;
          c.mask.set(row, original);
          set_element(c.dense, c.dtype, row * cols + original, bits);
        }
      }
    }
  }
  return c;
}

Case random_case(Random& random, const CaseOptions& how) {
  const Pattern pattern = random_pattern(random);
  const int cols = random.chance(0.1) ? random.pick(0, 700) : random.pick(0, 90);
  return random_case(random, pattern, random.pick(0, 24), cols, how);
}

SparseMatrix reference_compress(const Case& c) {
  SparseMatrix out;
  out.grid = std::make_shared<const Grid>(
      c.pattern, WeightShape{c.rows, c.cols, c.options.row_segments, c.options.col_segments});
  const Grid& grid = *out.grid;
  out.dtype = c.dtype;
  out.input_permutation = c.options.input_permutation;
  const auto original = [&](std::int64_t col) -> std::int64_t {
    return out.input_permutation.empty() ? col
                                         : out.input_permutation[static_cast<std::size_t>(col)];
  };
  for (const RowVector& vector : grid.vectors()) {
    BitList columns;
    std::vector<std::vector<std::int64_t>> live;  // of every group
    for (const ColumnGroup& g : grid.groups()) {
      const auto alive = [&](int block) {
        for (std::int64_t row = vector.row; row < vector.row + vector.rows; ++row)
          for (int i = 0; i < g.block_cols; ++i)
            if (c.mask.get(row, original(g.col + std::int64_t{block} * g.block_cols + i)))
              return true;
        return false;
      };
      const auto chosen = fill_up(g.kept_blocks, g.blocks, alive);
      if (grid.has_columns()) add_choice(columns, grid.column_code(), chosen, g.blocks);
      live.emplace_back();
      for (int block : chosen)
        for (int i = 0; i < g.block_cols; ++i)
          live.back().push_back(original(g.col + std::int64_t{block} * g.block_cols + i));
    }
    columns.to_bytes(out.columns);
    for (std::int64_t row = vector.row; row < vector.row + vector.rows; ++row) {
      BitList metadata;
      std::size_t index = 0;
      for (const ColumnGroup& g : grid.groups()) {
        const auto& columns_of_group = live[index++];
        const auto chosen = fill_up(g.kept, g.kept_cols, [&](int place) {
          return c.mask.get(row, columns_of_group[static_cast<std::size_t>(place)]);
        });
        if (grid.has_metadata()) add_choice(metadata, grid.metadata_code(), chosen, g.kept_cols);
        for (int place : chosen) {
          const std::int64_t col = columns_of_group[static_cast<std::size_t>(place)];
          const std::uint32_t bits =
              c.mask.get(row, col) ? element(c.dense, c.dtype, row * c.cols + col) : 0;
          out.values.resize(out.values.size() + static_cast<std::size_t>(dtype_bytes(c.dtype)));
          set_element(out.values, c.dtype, std::ssize(out.values) / dtype_bytes(c.dtype) - 1, bits);
        }
      }
      metadata.to_bytes(out.metadata);
    }
  }
  return out;
}

std::vector<std::byte> decompressed(const SparseView& sparse, int threads) {
  const Grid& grid = *sparse.grid;
  std::vector<std::byte> out(
      static_cast<std::size_t>(grid.rows() * grid.cols() * dtype_bytes(sparse.dtype)),
      std::byte{0xa5});
  // An empty vector has no data pointer; a weight without elements needs none.
  decompress(sparse, {out.data(), sparse.dtype, grid.rows(), grid.cols(), 0}, threads);
  return out;
}

}  // namespace coppice::testing
