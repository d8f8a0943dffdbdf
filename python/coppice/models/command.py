"""What the commands of the package share: every error is one line, and an interrupt too."""

import sys

from transformers.utils import logging


def run_command(name, run, arguments, interrupted="interrupted; nothing was written"):
    if not sys.stderr.isatty():
        logging.disable_progress_bar()
    try:
        run(arguments)
    except (OSError, RuntimeError, ValueError) as error:
        sys.exit(f"{name}: {error}")
    except KeyboardInterrupt:
        sys.exit(f"{name}: {interrupted}")
