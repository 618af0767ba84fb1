"""What decides, the object or a cue that will not be there elsewhere: tests, findings, ``find_shortcuts``."""
