"""The pictures, tables and figures of docs/how-to-choose.md and docs/dropblock.md.

    python -m benchmarks.pictures           # compute all figures, draw, fill in the pages
    python -m benchmarks.pictures draw      # draw and fill in from the committed figures

Each module here is one picture: `figures` computes what it shows, from mapdrop, the frameworks and
committed rows, and `draw` draws that. `tests/docs/test_pictures.py` computes the figures again.
"""
