"""What agents agree through: one small contract, a backend a file.

A call is one transaction, and an error says whether something may have been written.
May import config, buckets, model and errors.
"""
