"""`python -m mapdrop`, which is what torchrun starts."""

from mapdrop.cli import main

if __name__ == "__main__":
    main()
