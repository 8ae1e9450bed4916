"""``python -m secateurs``: the command line, for launchers such as torchrun and accelerate."""

from secateurs.cli import main

if __name__ == "__main__":
    main()
