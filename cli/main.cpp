#include "bench/baseline.h"
#include "command.h"

int main(int argc, char** argv) {
  if (coppice::bench::is_openblas_probe()) return coppice::bench::answer_openblas_probe();
  return coppice::cli::run_command_line(argc, argv);
}
