"""The cluster file: TOML text to a Cluster, and back. Pure.

Every fault is told at once, and only a sound Cluster leaves.
May import model and errors.
"""
