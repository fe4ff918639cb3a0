"""`python -m mapdrop`, which is what torchrun starts."""

from mapdrop.cli import main

main()
