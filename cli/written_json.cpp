#include "written_json.h"

#include <utility>

namespace coppice::cli {

Json written_json(const std::string& command, const std::string& input, const std::string& output,
                  Json layers, const WriteReport& written) {
  return {{"command", command},
          {"input", input},
          {"output", output},
          {"layers", std::move(layers)},
          {"checkpoint_bytes_in", written.tensor_bytes_in},
          {"checkpoint_bytes_out", written.tensor_bytes_out},
          {"left_out", written.left_out}};
}

}  // namespace coppice::cli
