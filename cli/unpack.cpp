// coppice unpack: the dense-with-zeros checkpoint of a packed one.
#include <CLI/CLI.hpp>

#include "command.h"
#include "console.h"
#include "coppice/checkpoint.h"
#include "coppice/error.h"
#include "progress.h"
#include "selection.h"
#include "table.h"
#include "units.h"
#include "written_json.h"

namespace coppice::cli {
namespace {

constexpr const char* kDetails =
    "Examples:\n"
    "  coppice unpack PACKED_DIR -o DENSE_DIR\n"
    "\n"
    "The output holds the same weights bit for bit, dense with zeros, and opens in stock "
    "transformers.";

class UnpackCommand final : public Command {
 public:
  std::string name() const override { return "unpack"; }
  std::string summary() const override { return "Turn a packed checkpoint into a dense one"; }
  std::string details() const override { return kDetails; }
  void declare(CLI::App& app) override {
    app.add_option("packed_dir", input_, "Packed checkpoint directory")
        ->required()
        ->type_name("PACKED_DIR");
    app.add_option("-o,--output", output_, "Directory to write; must not exist")
        ->required()
        ->type_name("OUT");
    add_threads(app);
    add_json(app);
  }
  int run() override;

 private:
  void print_text(const Checkpoint& input, const WriteReport& written) const;
  void print_as_json(const Checkpoint& input, const WriteReport& written) const;
  std::string input_, output_;
};

std::int64_t stored_bytes(const PackedEntry& entry) {
  const WeightShape& shape = entry.weight.shape;
  return Grid(entry.pattern, shape).own_bytes(entry.weight.dtype) +
         (entry.has_input_permutation ? 4 * shape.cols : 0);
}

void UnpackCommand::print_text(const Checkpoint& input, const WriteReport& written) const {
  Table table({{"layer", Align::left},
               {"shape"},
               {"dtype", Align::left},
               {"pattern", Align::left},
               {"packed"},
               {"dense"}});
  for (const PackedEntry& entry : input.packed_weights())
    table.add({entry.weight.name, shape_text(entry.weight.shape.rows, entry.weight.shape.cols),
               std::string(dtype_name(entry.weight.dtype)), entry.pattern.to_string(),
               human_bytes(static_cast<double>(stored_bytes(entry))),
               human_bytes(static_cast<double>(dense_bytes(entry.weight)))});
  table.add_total({"whole checkpoint", "", "", "",
                   human_bytes(static_cast<double>(written.tensor_bytes_in)),
                   human_bytes(static_cast<double>(written.tensor_bytes_out))});
  print(table.to_string() + "packed, dense: bytes before and after.\n");
  print(
      fmt::format("Wrote '{}': dense weights with zeros, opens in stock transformers.\n", output_));
}

void UnpackCommand::print_as_json(const Checkpoint& input, const WriteReport& written) const {
  Json rows = Json::array();
  for (const PackedEntry& entry : input.packed_weights()) {
    Json row = weight_json(entry.weight);
    row["pattern"] = entry.pattern.to_string();
    row["packed_bytes"] = stored_bytes(entry);
    row["dense_bytes"] = dense_bytes(entry.weight);
    rows.push_back(std::move(row));
  }
  print_json(written_json("unpack", input_, output_, std::move(rows), written));
}

int UnpackCommand::run() {
  Checkpoint input = Checkpoint::open(input_);
  check_output(input_, output_);
  if (!input.is_packed())
    throw InvalidArgument(fmt::format("'{}' is not packed: there is nothing to unpack", input_));
  WriteReport written;
  {
    Progress progress("unpacking");
    written = write_unpacked(input, output_, write_options(threads(), progress));
  }
  note_left_out(written);
  if (json_)
    print_as_json(input, written);
  else
    print_text(input, written);
  return 0;
}

}  // namespace

std::unique_ptr<Command> make_unpack() { return std::make_unique<UnpackCommand>(); }

}  // namespace coppice::cli
