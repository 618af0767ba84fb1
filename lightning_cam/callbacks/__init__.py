"""``CAMMonitor``: when to look and whom to tell. Lightning is known in this folder alone."""
