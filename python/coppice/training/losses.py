"""Losses that hold a student to its teacher: logits, hidden states, embeddings."""

import torch
from torch.nn import functional as F


def _mean(values, mask):
    """values: one a token; mask: the tokens that count, or None."""
    if mask is None:
        return values.mean()
    mask = mask.to(values.dtype)
    return (values * mask).sum() / mask.sum().clamp(min=1)


def distillation_kl(student, teacher, temperature=2.0, mask=None):
    """T^2 KL(teacher / T || student / T) of logits [..., classes], the mean over what stands before (Hinton et al. 2015, section 2).

    mask [...]: what counts.
    """
    student, teacher = (F.log_softmax(logits.float() / temperature, -1) for logits in (student, teacher))
    return temperature**2 * _mean(F.kl_div(student, teacher.detach(), reduction="none", log_target=True).sum(-1), mask)


def cosine_distance(student, teacher, mask=None):
    """1 - cosine of vectors [..., features], the mean."""
    return _mean(1 - F.cosine_similarity(student.float(), teacher.detach().float(), dim=-1), mask)


def hidden_mse(student, teacher, mask=None):
    """Mean square of the difference of hidden states, in units of the teacher's mean square."""
    teacher = teacher.detach().float()
    error = _mean((student.float() - teacher).square().mean(-1), mask)
    return error / _mean(teacher.square().mean(-1), mask).clamp(min=torch.finfo(torch.float32).tiny)


def distilled(task, distillation, hardness=1.0):
    """(1 - hardness) * task + hardness * distillation; VENOM trains with hardness 1 (section 6)."""
    return distillation if hardness == 1 else (1 - hardness) * task + hardness * distillation
