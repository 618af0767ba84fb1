"""The command ``lightning-cam``, one file a verb: ``report``, ``explain``, ``shortcuts``."""
