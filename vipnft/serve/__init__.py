"""The process that shows the snapshot: the page, metrics and documents, to whoever asks.

It holds no privilege and no secret, and changes nothing; the standard library is all it needs.
May import host and what is below; not agent, not lab.
"""
