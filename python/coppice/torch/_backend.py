"""A backend of torch.compile."""


def backend(module, inputs, *, mode=None, options=None):
    """torch.compile(model, backend=coppice.torch.backend), by name "coppice" where the package is installed: inductor, with its modes
    and options, that makes the addition of a residual behind a SparseLinear a part of the product, on a GPU and for many tokens."""
    from torch._inductor import compile as inductor, list_mode_options

    from ._residual_pass import FuseResiduals

    patches = {**(list_mode_options(mode) if mode and mode != "default" else {}), **(options or {})}
    return inductor(module, inputs, options={**patches, "post_grad_custom_pre_pass": FuseResiduals()})
