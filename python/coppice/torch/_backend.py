"""A backend of torch.compile."""

from .._core import InvalidArgument

_PASS = "post_grad_custom_pre_pass"


def backend(module, inputs, *, mode=None, options=None):
    """torch.compile(model, backend=coppice.torch.backend), by name "coppice" where the package is installed: inductor, with its modes
    and options, that makes the addition of a residual behind a SparseLinear a part of the product, on a GPU and for many tokens."""
    from torch._inductor import compile as inductor, list_mode_options

    from ._residual_pass import FuseResiduals

    patches = {**(list_mode_options(mode) if mode and mode != "default" else {}), **(options or {})}
    if _PASS in patches:
        raise InvalidArgument(f"options: {_PASS} is this backend's own")
    return inductor(module, inputs, options={**patches, _PASS: FuseResiduals()})
