// Everything of the public interface that needs no GPU.
#pragma once

#include "coppice/checkpoint.h"
#include "coppice/dtype.h"
#include "coppice/error.h"
#include "coppice/grid.h"
#include "coppice/linear.h"
#include "coppice/mask.h"
#include "coppice/output_error.h"
#include "coppice/pattern.h"
#include "coppice/permutation.h"
#include "coppice/permutation_search.h"
#include "coppice/prune.h"
#include "coppice/safetensors.h"
#include "coppice/score.h"
#include "coppice/sparse_matrix.h"
#include "coppice/statistics.h"
#include "coppice/update.h"
