"""`python -m coppice.prune`. In a program use the function coppice.prune."""

if __name__ == "__main__":
    from .pruning.cli import main

    main()
