"""Edges to the kernel: nft, links, sockets, settings, netlink.

A call reads, or changes one thing, and decides nothing; what is refused leaves as an error of ours
(from libc, the plain system calls, as OSError).
May import ruleset and what is below, for its words.
"""
