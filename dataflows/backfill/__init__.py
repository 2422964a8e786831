"""Filling a folder of history from the exchange's own archive, and from REST what the archive lacks.

Nothing is invented: a gap stays a gap, what no market can have made is left out, what was not had is told.
"""
