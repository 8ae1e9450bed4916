"""Grids of runs: which method, at which size, for this model?"""
