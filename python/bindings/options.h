// Options that several functions take by name.
#pragma once

#include "arrays.h"
#include "coppice/prune.h"

namespace coppice::python {

inline ColumnSearch column_search(std::string_view name) {
  constexpr std::array<NamedValue<ColumnSearch>, 4> kNames{{{"automatic", ColumnSearch::automatic},
                                                            {"exact", ColumnSearch::exact},
                                                            {"swaps", ColumnSearch::swaps},
                                                            {"greedy", ColumnSearch::greedy}}};
  return named("columns", name, kNames);
}

inline Layout layout_of(std::string_view name) {
  constexpr std::array<NamedValue<Layout>, 2> kNames{
      {{"token", Layout::token_major}, {"feature", Layout::feature_major}}};
  return named("layout", name, kNames);
}

}  // namespace coppice::python
