"""What a layer is aimed at when the blocks before it were pruned."""

import torch


def correction_of(sums, damping):
    """[cols, cols] float64: T such that W T gives the changed inputs Y the outputs that W gave the dense model's inputs X.

    min over V of ||Y V^T - X W^T||^2 + r ||V - W||^2 has V^T = (Y^T Y + r)^-1 (Y^T X + r) W^T. Pruning V by the Gram matrix Y^T Y then
    is pruning against the dense model's outputs: ||Y U^T - X W^T||^2 = ||Y (U - V)^T||^2 + what no U can change (for r = 0). r is
    `damping` times the mean of the diagonal, as in the methods themselves. None where the inputs are all zero.
    """
    gram, cross = sums.total, sums.cross
    ridge = damping * gram.diagonal().mean()
    if not ridge > 0:
        return None
    identity = ridge * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    factor, failed = torch.linalg.cholesky_ex((gram + gram.T) / 2 + identity)
    if failed:
        return None
    return torch.cholesky_solve(cross + identity, factor).T.contiguous().cpu().numpy()
