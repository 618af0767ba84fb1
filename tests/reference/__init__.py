"""Every equation of the package a second time: float64, plain loops, no cleverness."""
