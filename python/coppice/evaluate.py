"""`python -m coppice.evaluate`. In a program use the function coppice.evaluate."""

if __name__ == "__main__":
    from .evaluation.cli import main

    main()
