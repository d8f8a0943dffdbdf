#include "command.h"

int main(int argc, char** argv) { return coppice::cli::run_command_line(argc, argv); }
