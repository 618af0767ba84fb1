"""A run as one HTML file. ``python -m lightning_cam.report CHECKPOINT`` makes it from a checkpoint."""
