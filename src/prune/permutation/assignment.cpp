#include "prune/permutation/assignment.h"

#include <cstddef>
#include <limits>
#include <utility>

namespace coppice::prune {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr std::uint32_t kNone = std::numeric_limits<std::uint32_t>::max();

// Minimises costs, which are negative gains. Only columns have prices; what a row pays follows.
class Solver {
 public:
  Solver(std::span<const double> gains, std::size_t size)
      : gains_(gains), size_(size), prices_(size), row_of_(size, kNone), col_of_(size, kNone) {}

  std::vector<std::uint32_t> run() {
    reduce_columns();
    for (int pass = 0; pass < 2; ++pass) reduce_rows();
    for (std::size_t row = 0; row < size_; ++row)
      if (col_of_[row] == kNone) augment(row);
    return std::move(col_of_);
  }

 private:
  double reduced(std::size_t row, std::size_t col) const {
    return -gains_[row * size_ + col] - prices_[col];
  }

  void assign(std::size_t row, std::size_t col) {
    col_of_[row] = static_cast<std::uint32_t>(col);
    row_of_[col] = static_cast<std::uint32_t>(row);
  }

  // Every column asks for its cheapest row.
  void reduce_columns() {
    std::vector<std::size_t> cheapest(size_);
    for (std::size_t col = 0; col < size_; ++col) prices_[col] = kInfinity;
    for (std::size_t row = 0; row < size_; ++row)
      for (std::size_t col = 0; col < size_; ++col)
        if (const double cost = -gains_[row * size_ + col]; cost < prices_[col]) {
          prices_[col] = cost;
          cheapest[col] = row;
        }
    for (std::size_t col = size_; col-- > 0;)
      if (col_of_[cheapest[col]] == kNone) assign(cheapest[col], col);
  }

  // Every free row takes its best column, whose price falls to what the second best would cost. The
  // row it is taken from goes on at once; in floating point that may never end, so steps are
  // counted.
  void reduce_rows() {
    auto steps = static_cast<std::ptrdiff_t>(4 * size_);
    for (std::size_t first = 0; first < size_; ++first) {
      std::size_t row = first;
      while (col_of_[row] == kNone && steps-- > 0) {
        std::size_t best = 0;
        double least = kInfinity, second = kInfinity;
        for (std::size_t col = 0; col < size_; ++col) {
          const double cost = reduced(row, col);
          if (cost < least) {
            second = least;
            least = cost;
            best = col;
          } else if (cost < second) {
            second = cost;
          }
        }
        const std::uint32_t owner = row_of_[best];
        if (owner != kNone && !(least < second)) break;  // a tie: left to the augmenting paths
        if (second < kInfinity) prices_[best] -= second - least;
        assign(row, best);
        if (owner == kNone) break;
        col_of_[owner] = kNone;
        row = owner;
      }
      if (steps <= 0) return;
    }
  }

  // Dijkstra from a free row to the nearest free column over reduced costs.
  void augment(std::size_t start) {
    std::vector<double> distance(size_);
    std::vector<std::uint32_t> from(size_, static_cast<std::uint32_t>(start));
    std::vector<std::uint32_t> scanned, open(size_);
    for (std::size_t col = 0; col < size_; ++col) {
      distance[col] = reduced(start, col);
      open[col] = static_cast<std::uint32_t>(col);
    }
    std::uint32_t end = kNone;
    double reached = 0;
    while (end == kNone) {
      std::size_t nearest = 0;
      for (std::size_t i = 1; i < open.size(); ++i)
        if (distance[open[i]] < distance[open[nearest]] ||
            (distance[open[i]] == distance[open[nearest]] && row_of_[open[i]] == kNone))
          nearest = i;
      const std::uint32_t col = open[nearest];
      open[nearest] = open.back();
      open.pop_back();
      reached = distance[col];
      if (row_of_[col] == kNone) {
        end = col;
        break;
      }
      scanned.push_back(col);
      const std::uint32_t row = row_of_[col];
      const double offset = reduced(row, col) - reached;
      for (std::uint32_t other : open)
        if (const double through = reduced(row, other) - offset; through < distance[other]) {
          distance[other] = through;
          from[other] = row;
        }
    }
    for (std::uint32_t col : scanned) prices_[col] += distance[col] - reached;
    for (std::uint32_t col = end;;) {
      const std::uint32_t row = from[col], next = col_of_[row];
      assign(row, col);
      if (row == start) return;
      col = next;
    }
  }

  std::span<const double> gains_;
  std::size_t size_;
  std::vector<double> prices_;
  std::vector<std::uint32_t> row_of_, col_of_;
};

}  // namespace

std::vector<std::uint32_t> solve_assignment(std::span<const double> gains, std::size_t size) {
  return Solver(gains, size).run();
}

}  // namespace coppice::prune
