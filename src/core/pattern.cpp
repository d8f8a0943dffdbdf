#include "coppice/pattern.h"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <nlohmann/json.hpp>
#include <optional>

#include "coppice/error.h"

namespace coppice {
namespace {

constexpr int kMaxGroup = 256;
constexpr int kMaxVecRows = 1024;
constexpr int kMaxBlockCols = 1024;
constexpr int kDefaultLiveCols =
    4;  // V:N:M without a spelled number keeps 4 columns (VENOM, section 3)

// Reads numbers and separators from left to right; every step fails softly.
class Cursor {
 public:
  explicit Cursor(std::string_view text) : rest_(text) {}
  bool skip(std::string_view token) {
    if (!rest_.starts_with(token)) return false;
    rest_.remove_prefix(token.size());
    return true;
  }
  std::optional<int> number() {
    int value = 0;
    if (rest_.empty() || rest_[0] < '0' || rest_[0] > '9') return std::nullopt;
    auto [end, error] = std::from_chars(rest_.data(), rest_.data() + rest_.size(), value);
    if (error != std::errc()) return std::nullopt;
    rest_.remove_prefix(static_cast<std::size_t>(end - rest_.data()));
    return value;
  }
  bool done() const { return rest_.empty(); }

 private:
  std::string_view rest_;
};

[[noreturn]] void fail(std::string_view text, std::string_view why) {
  throw InvalidArgument(fmt::format("pattern '{}': {}. {}", text, why, pattern_grammar()));
}

struct Ratio {
  int kept, group;
};

std::optional<Ratio> ratio(Cursor& cursor) {
  auto kept = cursor.number();
  if (!kept || !cursor.skip(":")) return std::nullopt;
  auto group = cursor.number();
  if (!group) return std::nullopt;
  return Ratio{*kept, *group};
}

// vwL/N:M after "vw", bwRxC/N:M after "bw".
std::optional<Pattern> parse_vector(Cursor cursor) {
  auto rows = cursor.number();
  if (!rows || !cursor.skip("/")) return std::nullopt;
  auto outer = ratio(cursor);
  if (!outer || !cursor.done()) return std::nullopt;
  return Pattern{*rows, 1, outer->kept, outer->group, 0};
}

std::optional<Pattern> parse_block(Cursor cursor) {
  auto rows = cursor.number();
  if (!rows || !cursor.skip("x")) return std::nullopt;
  auto cols = cursor.number();
  if (!cols || !cursor.skip("/")) return std::nullopt;
  auto outer = ratio(cursor);
  if (!outer || !cursor.done()) return std::nullopt;
  return Pattern{*rows, *cols, outer->kept, outer->group, 0};
}

// N:M, V:N:M or V:N/C:M
std::optional<Pattern> parse_numbers(Cursor cursor) {
  auto first = cursor.number();
  if (!first || !cursor.skip(":")) return std::nullopt;
  auto second = cursor.number();
  if (!second) return std::nullopt;
  if (cursor.done()) return Pattern{1, 1, *first, *second, 0};
  int live = kDefaultLiveCols;
  if (cursor.skip("/")) {
    auto spelled = cursor.number();
    if (!spelled) return std::nullopt;
    live = *spelled;
  }
  if (!cursor.skip(":")) return std::nullopt;
  auto group = cursor.number();
  if (!group || !cursor.done() || *second == 0) return std::nullopt;
  return Pattern{*first, 1, live, *group, *second};
}

std::optional<Pattern> parse_any(std::string_view text) {
  if (text == "dense") return Pattern{};
  Cursor cursor(text);
  if (cursor.skip("vw")) return parse_vector(cursor);
  if (cursor.skip("bw")) return parse_block(cursor);
  return parse_numbers(cursor);
}

std::string problem(const Pattern& p) {
  if (p.group < 1 || p.group > kMaxGroup)
    return fmt::format("M must be 1 to {}, not {}", kMaxGroup, p.group);
  if (p.kept < 1 || p.kept > p.group)
    return fmt::format("{} of {} cannot be kept (1 <= N <= M)", p.kept, p.group);
  if (p.vec_rows < 1 || p.vec_rows > kMaxVecRows)
    return fmt::format("V (rows of a vector) must be 1 to {}, not {}", kMaxVecRows, p.vec_rows);
  if (p.block_cols < 1 || p.block_cols > kMaxBlockCols)
    return fmt::format("columns of a block must be 1 to {}, not {}", kMaxBlockCols, p.block_cols);
  if (p.inner_kept < 0 || p.inner_kept > p.kept)
    return fmt::format("{} of {} kept columns cannot be kept by a row", p.inner_kept, p.kept);
  if (p.inner_kept != 0 && p.block_cols != 1) return "an inner level needs blocks of one column";
  return {};
}

Pattern normalised(Pattern p) {
  if (p.inner_kept == p.kept) p.inner_kept = 0;  // the row keeps what the vector keeps
  if (p.inner_kept != 0 && p.kept == p.group) {  // the vector keeps all: element-wise
    p = Pattern{1, 1, p.inner_kept, p.group, 0};
  }
  if (p.inner_kept != 0 && p.vec_rows == 1) {  // every row chooses for itself: element-wise N:M
    p = Pattern{1, 1, p.inner_kept, p.group, 0};
  }
  if (p.kept == p.group) return Pattern{};  // nothing is pruned
  return p;
}

}  // namespace

Pattern Pattern::parse(std::string_view text) {
  auto parsed = parse_any(text);
  if (!parsed) fail(text, "not understood");
  if (auto why = problem(*parsed); !why.empty()) fail(text, why);
  return normalised(*parsed);
}

Pattern Pattern::make(int vec_rows, int block_cols, int kept, int group, int inner_kept) {
  Pattern p{vec_rows, block_cols, kept, group, inner_kept};
  if (auto why = problem(p); !why.empty()) throw InvalidArgument("pattern: " + why);
  return normalised(p);
}

PatternKind Pattern::kind() const {
  if (is_dense()) return PatternKind::dense;
  if (has_inner()) return PatternKind::vnm;
  if (block_cols > 1) return PatternKind::block;
  return vec_rows > 1 ? PatternKind::vector : PatternKind::element;
}

bool Pattern::fits_sparse_tensor_cores() const {
  return is_two_four() || (kept == 4 && inner_kept == 2);
}

double Pattern::density() const {
  double outer = static_cast<double>(kept) / group;
  return has_inner() ? outer * inner_kept / kept : outer;
}

std::string Pattern::to_string() const {
  switch (kind()) {
    case PatternKind::dense:
      return "dense";
    case PatternKind::element:
      return fmt::format("{}:{}", kept, group);
    case PatternKind::vector:
      return fmt::format("vw{}/{}:{}", vec_rows, kept, group);
    case PatternKind::block:
      return fmt::format("bw{}x{}/{}:{}", vec_rows, block_cols, kept, group);
    case PatternKind::vnm:
      break;
  }
  if (kept == kDefaultLiveCols) return fmt::format("{}:{}:{}", vec_rows, inner_kept, group);
  return fmt::format("{}:{}/{}:{}", vec_rows, inner_kept, kept, group);
}

std::string Pattern::to_json() const {
  nlohmann::ordered_json json = {{"pattern", to_string()},   {"vec_rows", vec_rows},
                                 {"block_cols", block_cols}, {"kept", kept},
                                 {"group", group},           {"inner_kept", inner_kept}};
  return json.dump();
}

Pattern Pattern::from_json(std::string_view text) {
  auto json = nlohmann::json::parse(text, nullptr, false);
  if (!json.is_object()) throw InvalidArgument("pattern: not a JSON object");
  auto number = [&](const char* key) {
    auto it = json.find(key);
    if (it == json.end() || !it->is_number_integer())
      throw InvalidArgument(fmt::format("pattern: JSON needs an integer '{}'", key));
    auto value = it->get<std::int64_t>();
    if (value < 0 || value > 1 << 20)
      throw InvalidArgument(fmt::format("pattern: '{}' is out of range", key));
    return static_cast<int>(value);
  };
  Pattern p = make(number("vec_rows"), number("block_cols"), number("kept"), number("group"),
                   number("inner_kept"));
  auto spelled = json.find("pattern");
  if (spelled != json.end() &&
      (!spelled->is_string() || spelled->get<std::string>() != p.to_string()))
    throw InvalidArgument(fmt::format("pattern: JSON spells '{}' but its numbers mean '{}'",
                                      spelled->dump(), p.to_string()));
  return p;
}

std::string Pattern::describe() const {
  int percent = static_cast<int>(sparsity() * 1000 + 0.5);
  auto tail = fmt::format(" ({}.{} % of the weights are zero)", percent / 10, percent % 10);
  switch (kind()) {
    case PatternKind::dense:
      return "every weight is kept";
    case PatternKind::element:
      return fmt::format("each row keeps {} of every {} consecutive weights", kept, group) + tail;
    case PatternKind::vector:
      return fmt::format("{} consecutive rows together keep {} of every {} consecutive columns",
                         vec_rows, kept, group) +
             tail;
    case PatternKind::block:
      return fmt::format(
                 "blocks of {} rows x {} columns: {} of every {} neighbouring blocks are kept",
                 vec_rows, block_cols, kept, group) +
             tail;
    case PatternKind::vnm:
      break;
  }
  return fmt::format(
             "{} consecutive rows together keep {} of every {} consecutive columns, and each row "
             "keeps {} "
             "of those {}",
             vec_rows, kept, group, inner_kept, kept) +
         tail;
}

std::string_view pattern_grammar() {
  return "Patterns: 'dense'; 'N:M' (each row keeps N of M weights, e.g. 2:4); 'vwL/N:M' (L rows "
         "share the choice, "
         "e.g. vw32/8:32); 'bwRxC/N:M' (blocks of R rows x C columns, e.g. bw4x4/8:32); 'V:N:M' (V "
         "rows keep 4 of M "
         "columns, each row N of those 4, e.g. 64:2:8); 'V:N/C:M' (the same with C columns); 1 <= "
         "N <= M <= 256, "
         "V, L, R, C <= 1024";
}

}  // namespace coppice
