"""The work of each command, one file each; every function can also be called from a notebook.

A function asks the modules below for a result and prints it: in words, or as one JSON document with `as_json`.
"""
