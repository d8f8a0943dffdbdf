#include "cuda/launch.h"
namespace emulated {
std::map<std::string,int,std::less<>>& all_launches() { return launches; }
int launched(const std::string& name) {
  const auto found = launches.find(name);
  return found == launches.end() ? 0 : found->second;
}
}  // namespace emulated
