"""``python -m lightning_cam``: the command ``lightning-cam``."""

from lightning_cam.command.main import main

if __name__ == "__main__":
    main()
