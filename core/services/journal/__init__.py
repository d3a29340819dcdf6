"""The scan journal: what a redirect has seen is safe on disk before it answers.

Each worker appends to a file of its own (`writer`); one process of a node moves what is there into
the scan store (`drainer`). How a file looks is in `records`.
"""
