"""`python -m coppice.evaluate`. In a program use the function coppice.evaluate."""

if __name__ == "__main__":
    from ._optional import run

    run("evaluation", "coppice.evaluate")
