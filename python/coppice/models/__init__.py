"""What calibration, pruning and evaluation know about models of transformers."""
