"""N:M sparse transformers: prune, store, multiply.

    import coppice

    mask = coppice.magnitude_mask(weight, "64:2:8")           # weight: [rows, cols]
    sparse = coppice.compress(weight, mask, "64:2:8")
    y = coppice.multiply(sparse, x, bias=b, activation="relu")  # x: [tokens, cols]

Arrays are NumPy arrays or anything that exports DLPack or the buffer protocol, such as PyTorch tensors on the CPU. They are
read in place, never copied: what cannot be read so is refused, with the way out. Results are NumPy arrays; bfloat16 and fp8
have the types of ml_dtypes. Long calls release the GIL: do not change an array that another thread is working on.
threads=0 uses every processor of this process; results do not depend on it.
"""

from ._core import (
    Cancelled,
    Checkpoint,
    DecayStep,
    DeviceError,
    Error,
    FileError,
    Fold,
    Gram,
    InvalidArgument,
    LinearWeight,
    PackedWeight,
    Pattern,
    PermutationResult,
    SparseMatrix,
    Statistics,
    UpdateResult,
    WriteReport,
    __version__,
    admm_prune,
    compress,
    cpu_target,
    detect,
    find_folds,
    find_input_permutation,
    find_output_permutation,
    fisher_prune,
    load_file,
    magnitude_mask,
    merge_statistics,
    multiply,
    obs_prune,
    output_error,
    pack_checkpoint,
    prune_checkpoint,
    save_file,
    score_mask,
    score_weights,
    score_weights_fisher,
    score_weights_obs,
    structure_decay,
    unpack_checkpoint,
    write_folded,
)

__all__ = [
    "Cancelled",
    "Checkpoint",
    "DecayStep",
    "DeviceError",
    "Error",
    "FileError",
    "Fold",
    "Gram",
    "InvalidArgument",
    "LinearWeight",
    "PackedWeight",
    "Pattern",
    "PermutationResult",
    "SparseMatrix",
    "Statistics",
    "UpdateResult",
    "WriteReport",
    "__version__",
    "admm_prune",
    "compress",
    "cpu_target",
    "detect",
    "find_folds",
    "find_input_permutation",
    "find_output_permutation",
    "fisher_prune",
    "load_file",
    "magnitude_mask",
    "merge_statistics",
    "multiply",
    "obs_prune",
    "output_error",
    "pack_checkpoint",
    "prune_checkpoint",
    "save_file",
    "score_mask",
    "score_weights",
    "score_weights_fisher",
    "score_weights_obs",
    "structure_decay",
    "unpack_checkpoint",
    "write_folded",
]

# What needs torch and transformers, loaded when it is first asked for.
_LAZY = {"calibrate": "calibration", "evaluate": "evaluation", "prune": "pruning"}


def __getattr__(name):
    if name not in _LAZY:
        raise AttributeError(f"module 'coppice' has no attribute '{name}'")
    from ._optional import load

    value = getattr(load(_LAZY[name], f"coppice.{name}"), name)
    globals()[name] = value
    return value
