"""`python -m coppice.train`. In a program use coppice.training."""

if __name__ == "__main__":
    from .training.cli import main

    main()
