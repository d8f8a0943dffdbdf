"""Modules that need PyTorch and transformers, which the package works without."""

import sys
from importlib import import_module

NEEDED = ("torch", "transformers", "safetensors", "tokenizers")


def load(module, what):
    """A module of this package; ImportError with the way out where it lacks something."""
    try:
        return import_module(f".{module}", __package__)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in NEEDED:
            raise
        raise ImportError(f"{what} needs PyTorch and transformers ({error}); install them with: pip install 'coppice[torch]'") from error


def run(module, what):
    """The command of a module."""
    try:
        cli = load(f"{module}.cli", what)
    except ImportError as error:
        sys.exit(str(error))
    cli.main()
