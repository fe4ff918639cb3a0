"""How each framework is asked to drop: a module for each, whose `ways` yields all found here.

Each is imported in a process of its own, by `mapdrop.tools.check.worker` alone.
"""
