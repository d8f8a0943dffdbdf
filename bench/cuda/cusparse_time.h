// What a product took by cuSPARSE (cusparse.h).
#pragma once

#include <string>

namespace coppice::bench {

struct CusparseTime {
  double seconds = 0;  ///< 0: not measured
  std::string name;    ///< the fastest algorithm; or why there is none
  int replays = 0;     ///< 1: so slow that one call alone was timed
  double error = 0;    ///< of sampled outputs, as of our own product
};

}  // namespace coppice::bench
