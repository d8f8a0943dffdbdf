"""torch, or a skip of the module; COPPICE_REQUIRE_TORCH=1 makes a machine without it a failure."""

import os

import pytest

if os.environ.get("COPPICE_REQUIRE_TORCH") == "1":
    import torch
else:
    torch = pytest.importorskip("torch")
torch.manual_seed(7)
