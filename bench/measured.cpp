#include "bench/measured.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>
#include <fstream>
#include <iterator>
#include <map>

#include "bench/fields.h"
#include "coppice/error.h"

namespace coppice::bench {
namespace {

class Line {
 public:
  Line(const std::string& file, int number, const std::map<std::string, std::size_t>& columns,
       std::vector<std::string> fields)
      : file_(file), number_(number), columns_(columns), fields_(std::move(fields)) {}

  std::string text(const std::string& column, const char* absent = nullptr) const {
    const auto found = columns_.find(column);
    if (found != columns_.end()) return fields_[found->second];
    if (absent == nullptr) fault(fmt::format("no column '{}'", column));
    return absent;
  }

  /// 0 where the column may be absent and is, or is empty.
  template <typename Number>
  Number number(const std::string& column, bool optional = false) const {
    const std::string given = text(column, optional ? "" : nullptr);
    if (optional && given.empty()) return 0;
    Number value{};
    const auto [end, error] = std::from_chars(given.data(), given.data() + given.size(), value);
    const bool whole = error == std::errc() && end == given.data() + given.size();
    if (!whole || !std::isfinite(static_cast<double>(value)) || value < 0 ||
        (value == 0 && !optional))
      fault(fmt::format("{} is '{}', not a positive number", column, given));
    return value;
  }

  [[noreturn]] void fault(const std::string& what) const {
    throw FileError(fmt::format("{}, line {}: {}; needed is CSV of `coppice bench --device cuda`",
                                file_, number_, what));
  }

 private:
  const std::string& file_;
  int number_;
  const std::map<std::string, std::size_t>& columns_;
  std::vector<std::string> fields_;
};

Dtype dtype_of(const Line& line) {
  const std::string text = line.text("dtype", "F16");
  for (const Dtype dtype : {Dtype::f16, Dtype::bf16, Dtype::f32}) {
    std::string name(dtype_name(dtype));
    if (text == name) return dtype;
    for (char& c : name) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    if (text == name) return dtype;
  }
  line.fault(fmt::format("dtype '{}'", text));
}

MeasuredProduct product_of(const Line& line) {
  MeasuredProduct product;
  try {
    product.pattern = Pattern::parse(line.text("pattern"));
  } catch (const InvalidArgument& error) {
    line.fault(error.what());
  }
  product.dtype = dtype_of(line);
  const std::string layout = line.text("layout", "feature");
  if (layout != "token" && layout != "feature") line.fault(fmt::format("layout '{}'", layout));
  product.layout = layout == "token" ? Layout::token_major : Layout::feature_major;
  product.rows = line.number<std::int64_t>("rows");
  product.cols = line.number<std::int64_t>("cols");
  product.tokens = line.number<std::int64_t>("tokens");
  product.kernel = line.text("kernel");
  product.configuration = line.text("configuration", "");
  product.seconds = 1e-6 * line.number<double>("us", product.pattern.is_dense());
  product.dense_seconds = 1e-6 * line.number<double>("dense_us", true);
  product.fp8_seconds = 1e-6 * line.number<double>("fp8_us", true);
  product.gpu = line.text("gpu", "");
  return product;
}

}  // namespace

bool MeasuredProduct::same_case(const MeasuredProduct& other) const {
  return pattern == other.pattern && dtype == other.dtype && layout == other.layout &&
         rows == other.rows && cols == other.cols && tokens == other.tokens;
}

std::vector<std::string> measured_lines(const std::vector<MeasuredProduct>& products) {
  std::vector<std::string> lines = {
      "pattern,dtype,layout,tokens,cols,rows,kernel,configuration,us,dense_us,fp8_us,gpu"};
  for (const MeasuredProduct& m : products)
    lines.push_back(fmt::format("{},{},{},{},{},{},{},\"{}\",{:.3f},{:.3f},{:.3f},{}",
                                m.pattern.to_string(), dtype_name(m.dtype),
                                m.layout == Layout::token_major ? "token" : "feature", m.tokens,
                                m.cols, m.rows, m.kernel, m.configuration, 1e6 * m.seconds,
                                1e6 * m.dense_seconds, 1e6 * m.fp8_seconds, m.gpu));
  return lines;
}

std::vector<MeasuredProduct> parse_measured(std::string_view csv, const std::string& name) {
  std::vector<MeasuredProduct> products;
  std::map<std::string, std::size_t> columns;
  int number = 0;
  for (std::size_t begin = 0; begin < csv.size();) {
    const std::size_t end = std::min(csv.find('\n', begin), csv.size());
    std::string_view text = csv.substr(begin, end - begin);
    begin = end + 1;
    ++number;
    if (text.ends_with('\r')) text.remove_suffix(1);
    if (text.empty() || text.starts_with('#')) continue;
    std::vector<std::string> fields = csv_split(text);
    if (columns.empty()) {
      for (std::size_t i = 0; i < fields.size(); ++i) columns.emplace(fields[i], i);
      continue;
    }
    const std::size_t count = fields.size();
    const Line line(name, number, columns, std::move(fields));
    if (count != columns.size())
      line.fault(fmt::format("{} fields, the first line names {}", count, columns.size()));
    products.push_back(product_of(line));
  }
  return products;
}

std::vector<MeasuredProduct> read_measured(const std::filesystem::path& file) {
  std::ifstream in(file, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(in), {}};
  if (!in) throw FileError(fmt::format("{}: cannot be read", file.string()));
  return parse_measured(text, file.string());
}

}  // namespace coppice::bench
