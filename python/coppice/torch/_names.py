"""Names that the C++ side knows."""

import torch

DTYPES = {torch.float32: "float32", torch.float16: "float16", torch.bfloat16: "bfloat16"}
ACTIVATIONS = ("none", "relu", "gelu", "gelu_tanh", "silu")
ACTIVATION_INDEX = {name: index for index, name in enumerate(ACTIVATIONS)}
