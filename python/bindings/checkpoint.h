// What functions that write checkpoints share.
#pragma once

#include "coppice/checkpoint.h"

namespace coppice::python {

/// Ctrl-C ends the writing, which then leaves nothing behind.
WriteOptions write_options(int threads);

}  // namespace coppice::python
