// coppice statistics: what is in a statistics file, and several of them added up.
#include "coppice/statistics.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <filesystem>

#include "command.h"
#include "console.h"
#include "coppice/error.h"
#include "table.h"
#include "units.h"

namespace coppice::cli {
namespace {

constexpr const char* kDetails =
    "Examples:\n"
    "  coppice statistics show STATS\n"
    "  coppice statistics show STATS --check --json\n"
    "  coppice statistics merge SHARD_1 SHARD_2 SHARD_3 -o STATS\n"
    "\n"
    "python -m coppice.calibrate writes statistics of a model's inputs, 'coppice prune --stats' "
    "reads "
    "them.\n"
    "Files of several runs add up, in any order: those of other samples, and those of other "
    "layers.";

// Sizes of an input's columns, told by their root mean squares.
struct Columns {
  double median = 0, largest = 0;
  std::int64_t dead = 0;  // always 0
};

Columns look_at(const InputStatistics& input) {
  Columns columns;
  std::vector<double> sizes;
  for (double sum : input.square_sums) {
    columns.dead += sum == 0;
    sizes.push_back(std::sqrt(sum / static_cast<double>(input.samples)));
  }
  std::ranges::sort(sizes);
  columns.median = sizes[sizes.size() / 2];
  columns.largest = sizes.back();
  return columns;
}

std::vector<std::string> weights_of(const StatisticsContents& contents, const InputInfo& input) {
  std::vector<std::string> weights;
  for (const auto& [weight, name] : contents.weights)
    if (name == input.name) weights.push_back(weight);
  return weights;
}

class StatisticsCommand final : public Command {
 public:
  std::string name() const override { return "statistics"; }
  std::string summary() const override { return "Show or merge statistics of a model's inputs"; }
  std::string details() const override { return kDetails; }
  void declare(CLI::App& app) override;
  int run() override;

 private:
  void show() const;
  void merge() const;
  void print_text(const StatisticsFile& file, const std::vector<Columns>& columns) const;
  void print_as_json(const StatisticsFile& file, const std::vector<Columns>& columns) const;

  CLI::App* merge_ = nullptr;
  std::string file_, output_;
  std::vector<std::string> shards_;
  bool check_ = false;
};

void StatisticsCommand::declare(CLI::App& app) {
  app.require_subcommand(1);
  CLI::App* show = app.add_subcommand("show", "What is in a statistics file");
  show->add_option("file", file_, "Statistics file")->required()->type_name("FILE");
  show->add_flag("--check", check_, "Read and check every number");
  merge_ = app.add_subcommand("merge", "Add up statistics files");
  merge_->add_option("shards", shards_, "Statistics files")->required()->type_name("FILE...");
  merge_->add_option("-o,--output", output_, "File to write; must not exist")
      ->required()
      ->type_name("OUT");
  for (CLI::App* sub : {show, merge_}) {
    sub->footer(kDetails);
    add_threads(*sub);
    add_json(*sub);
  }
}

void StatisticsCommand::print_text(const StatisticsFile& file,
                                   const std::vector<Columns>& columns) const {
  const StatisticsContents& contents = file.contents();
  Table table({{"input", Align::left},
               {"columns"},
               {"samples"},
               {"Gram"},
               {"median size"},
               {"largest"},
               {"dead"},
               {"weights"}});
  for (std::size_t i = 0; i < columns.size(); ++i) {
    const InputInfo& input = contents.inputs[i];
    table.add({input.name, fmt::format("{}", input.cols), fmt::format("{}", input.samples),
               input.has_gram ? "yes" : "no", fmt::format("{:.3g}", columns[i].median),
               fmt::format("{:.3g}", columns[i].largest), fmt::format("{}", columns[i].dead),
               fmt::format("{}", weights_of(contents, input).size())});
  }
  print(fmt::format("{}: {} statistics of {} inputs and {} weights, gradients of {}\n\n", file_,
                    set_name(contents.set), contents.inputs.size(), contents.weights.size(),
                    contents.fisher.size()));
  print(table.to_string() +
        "Gram: with X^T X, not only sums of squares; median size, largest: root mean square of the "
        "columns; dead: columns that are always 0; weights: how many multiply this input.\n");
  if (check_) print("Every number was read and is in order.\n");
}

void StatisticsCommand::print_as_json(const StatisticsFile& file,
                                      const std::vector<Columns>& columns) const {
  const StatisticsContents& contents = file.contents();
  Json inputs = Json::array(), fisher = Json::array();
  for (std::size_t i = 0; i < columns.size(); ++i) {
    const InputInfo& input = contents.inputs[i];
    inputs.push_back({{"name", input.name},
                      {"columns", input.cols},
                      {"samples", input.samples},
                      {"gram", input.has_gram},
                      {"median_size", columns[i].median},
                      {"largest_size", columns[i].largest},
                      {"dead_columns", columns[i].dead},
                      {"weights", weights_of(contents, input)}});
  }
  for (const FisherInfo& info : contents.fisher)
    fisher.push_back({{"weight", info.weight},
                      {"blocks", info.blocks},
                      {"block", info.block},
                      {"samples", info.samples}});
  print_json({{"command", "statistics show"},
              {"file", file_},
              {"set", std::string(set_name(contents.set))},
              {"inputs", inputs},
              {"fisher", fisher},
              {"checked", check_}});
}

void StatisticsCommand::show() const {
  const StatisticsFile file = StatisticsFile::open(file_);
  std::vector<Columns> columns;
  for (const InputInfo& input : file.contents().inputs)
    columns.push_back(look_at(check_ ? file.read(input, threads()) : file.read_square_sums(input)));
  if (check_)
    for (const FisherInfo& info : file.contents().fisher) file.read(info, threads());
  if (json_)
    print_as_json(file, columns);
  else
    print_text(file, columns);
}

void StatisticsCommand::merge() const {
  if (std::filesystem::exists(output_))
    throw InvalidArgument(fmt::format("'{}' exists; choose another output", output_));
  const std::vector<std::filesystem::path> paths(shards_.begin(), shards_.end());
  merge_statistics(paths, output_, threads());
  const StatisticsFile merged = StatisticsFile::open(output_);
  if (json_) {
    print_json({{"command", "statistics merge"},
                {"shards", shards_},
                {"output", output_},
                {"inputs", merged.contents().inputs.size()}});
    return;
  }
  print(fmt::format("Wrote '{}': {} inputs of {} files.\n", output_,
                    merged.contents().inputs.size(), shards_.size()));
}

int StatisticsCommand::run() {
  if (merge_->parsed())
    merge();
  else
    show();
  return 0;
}

}  // namespace

std::unique_ptr<Command> make_statistics() { return std::make_unique<StatisticsCommand>(); }

}  // namespace coppice::cli
