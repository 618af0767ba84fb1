"""Studies that the product rests on and that are no part of it."""
