"""Which dropout does this task want, and what does it cost? Train, compare, report."""
