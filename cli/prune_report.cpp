#include "prune_report.h"

#include <algorithm>
#include <cmath>

#include "selection.h"
#include "table.h"
#include "units.h"

namespace coppice::cli {
namespace {

// The sums below the table.
struct Totals {
  double total_score = 0, kept_score = 0;
  std::int64_t dense_bytes = 0, packed_bytes = 0;
  std::vector<LayerTime> times;  // dense and sparse seconds of all layers that were timed
  double kept() const { return total_score > 0 ? kept_score / total_score : 1; }
};

Totals sum_up(const std::vector<PrunedLayer>& layers) {
  Totals totals;
  for (const PrunedLayer& layer : layers) {
    totals.total_score += layer.total_score;
    totals.kept_score += layer.kept_score;
    totals.dense_bytes += layer.dense_bytes;
    totals.packed_bytes += layer.packed_bytes;
    totals.times.resize(std::max(totals.times.size(), layer.times.size()));
    for (std::size_t i = 0; i < layer.times.size(); ++i) {
      totals.times[i].tokens = layer.times[i].tokens;
      totals.times[i].dense_seconds += layer.times[i].dense_seconds;
      totals.times[i].sparse_seconds += layer.times[i].sparse_seconds;
    }
  }
  return totals;
}

std::string legend(const LayerTimer& timer) {
  std::string text =
      "kept magnitude: share of the sum of |weight| that is still there; packed: bytes after "
      "'coppice pack', in percent of the dense bytes";
  if (timer.tokens().empty()) return text + ".\n";
  return text +
         fmt::format(
             ";\ndense@T, sparse@T: one product with T tokens on this CPU with {} thread(s), dense "
             "in fp32 by {}; speedup: dense/sparse ('dense wins': keep that layer dense here).\n",
             timer.threads(), timer.baseline());
}

std::size_t slower_layers(const std::vector<PrunedLayer>& layers) {
  return static_cast<std::size_t>(std::ranges::count_if(layers, [](const PrunedLayer& layer) {
    return std::ranges::any_of(layer.times, [](const LayerTime& time) {
      return time.dense_seconds > 0 && time.speedup() < 1;
    });
  }));
}

Json optional_json(const std::optional<double>& value) {
  return value && std::isfinite(*value) ? Json(*value) : Json(nullptr);
}

}  // namespace

void PrunedLayer::set_scores(const MaskResult& result) {
  total_score = result.total_score;
  kept_score = result.kept_score;
  blocks = result.blocks;
  unproven_blocks = result.unproven_blocks;
}

void PruneReport::add(PrunedLayer layer) {
  blocks += layer.blocks;
  unproven_blocks += layer.unproven_blocks;
  layer.dense_bytes = dense_bytes(layer.weight);
  layer.packed_bytes =
      packed_bytes({layer.weight, layer.pattern, !layer.input_permutation.empty()});
  layers.push_back(std::move(layer));
}

std::vector<std::string> PruneReport::score_titles() const {
  std::vector<std::string> titles;
  if (scores_shown()) titles.insert(titles.end(), {"scored by", "kept score"});
  if (permuted) titles.push_back("order");
  if (has_error) titles.push_back("error");
  if (has_held_out) titles.push_back("held-out error");
  if (scores_shown()) titles.push_back("took");
  return titles;
}

std::vector<std::string> PruneReport::score_cells(const PrunedLayer& layer) const {
  const auto share = [](const std::optional<double>& value) {
    return value ? percent(*value) : std::string("-");
  };
  std::vector<std::string> cells;
  if (scores_shown()) cells.insert(cells.end(), {layer.scored_by, share(layer.kept_of_scores)});
  if (permuted)
    cells.push_back(layer.order_gain ? fmt::format("+{:.1f}", 100 * *layer.order_gain) : "-");
  if (has_error) cells.push_back(share(layer.errors.calibration));
  if (has_held_out) cells.push_back(share(layer.errors.held_out));
  if (scores_shown()) cells.push_back(human_seconds(layer.seconds));
  return cells;
}

std::string PruneReport::notes() const {
  std::string text;
  for (const PrunedLayer& layer : layers)
    if (!layer.note.empty()) text += fmt::format("{}: {}.\n", layer.weight.name, layer.note);
  return text;
}

std::string PruneReport::text(const LayerTimer& timer) const {
  std::vector<Table::Column> columns = {{"layer", Align::left},
                                        {"shape"},
                                        {"dtype", Align::left},
                                        {"pattern", Align::left},
                                        {"kept magnitude"}};
  const std::vector<std::string> titles = score_titles();
  for (const auto& title : titles) columns.push_back({title, Align::right});
  columns.insert(columns.end(), {{"dense"}, {"packed"}, {"%"}});
  for (const auto& title : timer.header()) columns.push_back({title, Align::right});
  Table table(std::move(columns));
  auto row = [&](std::vector<std::string> cells, const auto& item,
                 const std::vector<std::string>& scores) {
    cells.push_back(percent(item.kept()));
    cells.insert(cells.end(), scores.begin(), scores.end());
    cells.push_back(human_bytes(static_cast<double>(item.dense_bytes)));
    cells.push_back(human_bytes(static_cast<double>(item.packed_bytes)));
    double share = item.dense_bytes > 0 ? static_cast<double>(item.packed_bytes) /
                                              static_cast<double>(item.dense_bytes)
                                        : 1;
    cells.push_back(fmt::format("{:.1f}", 100 * share));
    for (auto& cell : timer.cells(item.times)) cells.push_back(std::move(cell));
    return cells;
  };
  for (const PrunedLayer& layer : layers)
    table.add(row({layer.weight.name, shape_text(layer.weight.shape.rows, layer.weight.shape.cols),
                   std::string(dtype_name(layer.weight.dtype)), layer.pattern.to_string()},
                  layer, score_cells(layer)));
  table.add_total(row({fmt::format("{} layers", layers.size()), "", "", ""}, sum_up(layers),
                      std::vector<std::string>(titles.size())));

  std::string out = table.to_string() + legend(timer);
  if (scores_shown())
    out +=
        "kept score: share of the sum of scores that is still there (obs, admm: of w^2 |x|^2); "
        "took: "
        "time to prune it.\n";
  if (permuted)
    out +=
        "order: points that the share of kept scores rises by the order of input channels that is "
        "stored, or folded into the layer before; '-': the weight's own.\n";
  if (has_error || has_held_out)
    out +=
        "error: |XW - XV| / |XW| of the layer's outputs with the weights before (W) and after (V), "
        "on the statistics' samples X; held-out: on samples that pruning did not see.\n";
  out += notes();
  if (auto slower = slower_layers(layers); slower > 0)
    out +=
        fmt::format("{} of {} layers are faster dense on this CPU at some of these token counts.\n",
                    slower, layers.size());
  if (unproven_blocks > 0)
    out += fmt::format("In {} of {} blocks the choice of columns is not proven to be the best.\n",
                       unproven_blocks, blocks);
  const char* form =
      packed ? "packed, needs Coppice to open; 'coppice unpack' makes it dense again"
             : "dense weights with zeros, opens in stock transformers. 'coppice pack' stores it "
               "compressed";
  out += fmt::format("Wrote '{}' ({}, in {}): {}.\n", output,
                     human_bytes(static_cast<double>(written.tensor_bytes_out)),
                     human_seconds(seconds), form);
  return out;
}

Json PruneReport::json(const LayerTimer& timer) const {
  Json rows = Json::array();
  for (const PrunedLayer& layer : layers) {
    Json row = weight_json(layer.weight);
    row["pattern"] = layer.pattern.to_string();
    row["kept_magnitude"] = layer.kept();
    row["scored_by"] = layer.scored_by;
    row["kept_score"] = optional_json(layer.kept_of_scores);
    row["order_gain"] = optional_json(layer.order_gain);
    row["error"] = optional_json(layer.errors.calibration);
    row["held_out_error"] = optional_json(layer.errors.held_out);
    row["seconds"] = layer.seconds;
    row["note"] = layer.note;
    row["dense_bytes"] = layer.dense_bytes;
    row["packed_bytes"] = layer.packed_bytes;
    row["times"] = LayerTimer::json(layer.times);
    rows.push_back(std::move(row));
  }
  Totals totals = sum_up(layers);
  return {{"command", "prune"},
          {"input", input},
          {"output", output},
          {"method", method},
          {"packed", packed},
          {"threads", timer.threads()},
          {"dense_library", timer.tokens().empty() ? Json(nullptr) : Json(timer.baseline())},
          {"layers", rows},
          {"totals",
           {{"kept_magnitude", totals.kept()},
            {"dense_bytes", totals.dense_bytes},
            {"packed_bytes", totals.packed_bytes},
            {"times", LayerTimer::json(totals.times)}}},
          {"column_choices", blocks},
          {"unproven_column_choices", unproven_blocks},
          {"checkpoint_bytes_in", written.tensor_bytes_in},
          {"checkpoint_bytes_out", written.tensor_bytes_out},
          {"left_out", written.left_out},
          {"seconds", seconds}};
}

}  // namespace coppice::cli
