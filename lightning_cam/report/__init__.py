"""A run as one HTML file. ``lightning-cam report CHECKPOINT`` makes it from a checkpoint."""
