"""The scan journal: what a redirect has seen is safe on disk before it answers.

Each worker appends to a file of its own (`writer`); one process of a node moves what is there into
the scan store (`drainer`), started by whichever worker finds that there is none (`supervisor`). How
a file looks is in `records`, what lies in the folder in `folder`, and what could not be recorded is
counted in `losses`.
"""
