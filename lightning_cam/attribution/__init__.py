"""A model and images in, maps out: the only hooks that change an output, the only autograd."""
