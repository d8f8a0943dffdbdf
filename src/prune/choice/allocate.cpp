#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "coppice/error.h"
#include "coppice/pattern_choice.h"

namespace coppice {
namespace {

using Options = std::vector<LayerOption>;

// From one corner of a layer's hull to the next: less time, more error.
struct HullStep {
  std::size_t layer = 0, to = 0;
  double saved = 0, error = 0;
  double price() const { return error / saved; }
};

void check_layer(const Options& options, std::size_t layer) {
  if (options.empty())
    throw InvalidArgument(fmt::format("layer {} has no options to choose from", layer));
  for (const LayerOption& option : options)
    if (!std::isfinite(option.time) || !std::isfinite(option.error) || option.time < 0 ||
        option.error < 0)
      throw InvalidArgument(
          fmt::format("layer {}, {}: time {} and error {} must be finite and not negative", layer,
                      option.pattern.to_string(), option.time, option.error));
}

// The corners of the lower left hull of (time, error), from the least error to the least time.
std::vector<std::size_t> hull(const Options& options) {
  std::vector<std::size_t> order(options.size()), corners;
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(order, [&](std::size_t a, std::size_t b) {
    return options[a].error != options[b].error ? options[a].error < options[b].error
                                                : options[a].time < options[b].time;
  });
  auto price = [&](std::size_t from, std::size_t to) {
    return (options[to].error - options[from].error) / (options[from].time - options[to].time);
  };
  for (std::size_t next : order) {
    if (!corners.empty() && options[next].time >= options[corners.back()].time) continue;
    while (corners.size() > 1 &&
           price(corners[corners.size() - 2], corners.back()) >= price(corners.back(), next))
      corners.pop_back();
    corners.push_back(next);
  }
  return corners;
}

class Allocator {
 public:
  Allocator(std::span<const Options> layers, double budget) : layers_(layers), budget_(budget) {}

  Allocation run() {
    double fastest = 0;
    for (std::size_t layer = 0; layer < layers_.size(); ++layer) {
      check_layer(layers_[layer], layer);
      const std::vector<std::size_t> corners = hull(layers_[layer]);
      result_.choices.push_back(corners.front());
      fastest += layers_[layer][corners.back()].time;
      for (std::size_t i = 1; i < corners.size(); ++i) add_step(layer, corners[i - 1], corners[i]);
    }
    sum_up();
    if (!(fastest <= budget_))
      throw InvalidArgument(
          fmt::format("the fastest patterns take {:.6g} in all, more than the budget of {:.6g}",
                      fastest, budget_));
    result_.error_bound = result_.error;
    descend();
    give_back();
    return result_;
  }

 private:
  void add_step(std::size_t layer, std::size_t from, std::size_t to) {
    const LayerOption &a = layers_[layer][from], &b = layers_[layer][to];
    steps_.push_back({layer, to, a.time - b.time, b.error - a.error});
  }

  void sum_up() {
    result_.time = result_.error = 0;
    for (std::size_t layer = 0; layer < layers_.size(); ++layer) {
      result_.time += layers_[layer][result_.choices[layer]].time;
      result_.error += layers_[layer][result_.choices[layer]].error;
    }
  }

  // Cheapest steps first; those of one layer have rising prices. The last one, taken in part only,
  // is the optimum of the relaxed problem.
  void descend() {
    std::ranges::stable_sort(steps_, {}, &HullStep::price);
    for (const HullStep& step : steps_) {
      if (result_.time <= budget_) break;
      result_.error_bound =
          result_.error + step.price() * std::min(step.saved, result_.time - budget_);
      if (step.saved >= result_.time - budget_ && take_single(step)) break;
      result_.choices[step.layer] = step.to;
      sum_up();
    }
  }

  // In place of the last step: the change of one layer that is enough and costs least error.
  bool take_single(const HullStep& last) {
    double least = last.error;
    std::size_t layer = last.layer, choice = last.to;
    for (std::size_t l = 0; l < layers_.size(); ++l) {
      const LayerOption& now = layers_[l][result_.choices[l]];
      for (std::size_t i = 0; i < layers_[l].size(); ++i) {
        const LayerOption& option = layers_[l][i];
        if (result_.time - now.time + option.time > budget_ || option.error - now.error >= least)
          continue;
        least = option.error - now.error;
        layer = l;
        choice = i;
      }
    }
    result_.choices[layer] = choice;
    sum_up();
    return result_.time <= budget_;
  }

  // What is left of the budget, to where it takes away most error.
  void give_back() {
    for (;;) {
      double most = 0;
      std::size_t layer = 0, choice = 0;
      for (std::size_t l = 0; l < layers_.size(); ++l) {
        const LayerOption& now = layers_[l][result_.choices[l]];
        for (std::size_t i = 0; i < layers_[l].size(); ++i) {
          const LayerOption& option = layers_[l][i];
          if (result_.time - now.time + option.time > budget_ || now.error - option.error <= most)
            continue;
          most = now.error - option.error;
          layer = l;
          choice = i;
        }
      }
      if (most == 0) return;
      result_.choices[layer] = choice;
      sum_up();
    }
  }

  std::span<const Options> layers_;
  double budget_;
  std::vector<HullStep> steps_;
  Allocation result_;
};

}  // namespace

Allocation allocate_patterns(std::span<const std::vector<LayerOption>> layers, double budget) {
  return Allocator(layers, budget).run();
}

}  // namespace coppice
