"""Batches in, the probe out; and the record of past looks."""
