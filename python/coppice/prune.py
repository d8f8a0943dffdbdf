"""`python -m coppice.prune`. In a program use the function coppice.prune."""

if __name__ == "__main__":
    from ._optional import run

    run("pruning", "coppice.prune")
