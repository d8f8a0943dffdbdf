#include "cuda/launch.h"
#include "family.h"

namespace emulated {

std::map<std::string, int> all_launched() { return {launches.begin(), launches.end()}; }

}  // namespace emulated
