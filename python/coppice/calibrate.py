"""`python -m coppice.calibrate`. In a program use the function coppice.calibrate."""

if __name__ == "__main__":
    from ._optional import run

    run("calibration", "coppice.calibrate")
