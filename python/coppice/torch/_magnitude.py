"""Dense linear layers on a GPU -> SparseLinear, pruned by magnitude, without a way through the host."""

import torch
from torch import nn

from .. import _core
from .._core import InvalidArgument
from . import _cuda
from ._layers import pattern_for
from ._linear import SparseLinear, dense_weight
from ._names import DTYPES
from ._sparsify import replace_
from ._weight import SparseWeight

_NO_NAN = -1  # CudaCompressor's answer, ~0


def magnitude_sparsify_(model, pattern, *, filter=None):
    """Prunes the linear layers of a model on a GPU by magnitude and replaces them by SparseLinear, in place: a SparsifyReport.

    What prune_ and sparsify_ do with method="magnitude", with the same masks, but on the GPU. pattern and filter as there.
    """
    compressors = {}

    def make(name, module):
        wanted = pattern_for(pattern, name, module)
        if wanted is None:
            return None, "no pattern for it"
        layer = _compressed(name, module, wanted, compressors)
        refusal = _cuda.refusal(layer.pattern, layer.weight.dtype)
        return (None, refusal) if refusal else (layer, "")

    return replace_(model, filter, make)


def _compressed(name, module, pattern, compressors):
    dense = dense_weight(module)
    if not dense.is_cuda or dense.dtype not in DTYPES:
        raise InvalidArgument(f"{name} is {dense.dtype} on {dense.device}; magnitude_sparsify_ needs float16, bfloat16 or float32 on a "
                              "GPU; prune_ and sparsify_ work anywhere")
    key = (str(pattern), dense.shape, dense.dtype, dense.device)
    with torch.cuda.device(dense.device), torch.no_grad():
        weight = SparseWeight(pattern, dense.shape, dtype=dense.dtype, device="meta")
        grid = weight.grid
        if key not in compressors:
            compressors[key] = _core.CudaCompressor(grid, DTYPES[dense.dtype])
        compressor = compressors[key]
        values = dense.new_empty(grid.rows, grid.kept)
        columns, metadata = (None if shape is None else torch.empty(shape, dtype=torch.uint8, device=dense.device)
                             for shape in (grid.columns_shape, grid.metadata_shape))
        workspace = torch.empty(compressor.workspace_bytes + 8, dtype=torch.uint8, device=dense.device)
        compressor.compress(dense.data_ptr(), 0, values.data_ptr(), *(0 if t is None else t.data_ptr() for t in (columns, metadata)),
                            workspace.data_ptr(), _cuda._stream_of(dense.device.index))
        nan = workspace[:8].view(torch.int64).item() if values.numel() else _NO_NAN
    if nan != _NO_NAN:
        raise InvalidArgument(f"{name} has a NaN at row {nan // dense.shape[1]}, column {nan % dense.shape[1]}")
    weight.values = nn.Parameter(values, requires_grad=module.weight.requires_grad)
    weight.columns, weight.metadata = columns, metadata
    layer = SparseLinear.__new__(SparseLinear)
    nn.Module.__init__(layer)
    layer._set(None, "token")
    layer.weight = weight
    layer.register_parameter("bias", module.bias)
    return layer.train(module.training)
