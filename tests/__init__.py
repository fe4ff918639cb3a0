"""The tests of mapdrop."""
