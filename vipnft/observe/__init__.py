"""What can be seen of a host and its cluster: reports, the snapshot, events, metrics.

Pure: facts come in, documents and text go out; none holds a seed, a secret or a client's address.
May import ruleset, agreement and what is below.
"""
