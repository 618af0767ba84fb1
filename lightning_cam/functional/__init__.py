"""Tensors in, tensors out: maps, methods, targets, statistics, overlay. Nothing here takes a model, a logger or a batch."""
