"""Maps in, pictures out: one file a picture, named as its tag."""
