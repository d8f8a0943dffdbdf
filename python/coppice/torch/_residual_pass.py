"""A pass over inductor's graphs: additions of residuals become part of the products before them."""

import math

import torch
from torch._inductor.custom_graph_pass import CustomGraphPass, get_hash_for_files
from torch.fx.operator_schemas import normalize_function

from . import _ops  # noqa: F401, the operators
from ._block_ops import FEW_TOKENS


def fuse_residuals(graph, device="cuda"):
    """linear(x) + residual -> linear_add(x, residual) in a graph of ATen's operators, where nothing else reads the product and its
    tokens are many; returns how many. For few tokens the addition costs nothing beside the norm that a compiler puts it into."""
    fused = 0
    for node in list(graph.find_nodes(op="call_function", target=torch.ops.aten.add.Tensor)):
        for product, residual in (node.args, node.args[::-1]):
            if _fuses(node, product, residual, device):
                _fuse(graph, node, product, residual)
                fused += 1
                break
    return fused


def _fuses(addition, product, residual, device):
    if addition.kwargs or not all(isinstance(one, torch.fx.Node) for one in (product, residual)) or product is residual:
        return False
    if product.target is not torch.ops.coppice.linear.default or len(product.users) > 1:
        return False
    of = _arguments(product)
    if of["activation"] != "none" or of["by_features"]:
        return False
    y, other = product.meta["val"], residual.meta.get("val")
    tokens = math.prod(y.shape[:-1])
    return (y.device.type == device and isinstance(tokens, int) and tokens > FEW_TOKENS and isinstance(other, torch.Tensor)
            and other.shape == y.shape and other.dtype is y.dtype and other.device == y.device and other.stride() == y.stride())


def _arguments(product):
    return normalize_function(product.target, product.args, product.kwargs, normalize_to_only_use_kwargs=True).kwargs


def _fuse(graph, addition, product, residual):
    of = dict(_arguments(product))
    del of["activation"], of["by_features"]
    with graph.inserting_before(addition):
        fused = graph.call_function(torch.ops.coppice.linear_add.default, kwargs={**of, "residual": residual})
    fused.meta.update(addition.meta)
    addition.replace_all_uses_with(fused)
    graph.erase_node(addition)
    graph.erase_node(product)


class FuseResiduals(CustomGraphPass):
    """fuse_residuals for inductor, which keeps compiled graphs by the pass that made them."""

    def __call__(self, graph):
        fuse_residuals(graph)

    def uuid(self):
        return get_hash_for_files((__file__,))
