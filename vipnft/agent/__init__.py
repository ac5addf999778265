"""One host's loop: it keeps the host in step through store and lease, under systemd.

It decides nothing about buckets, which is agreement's; and if it fails, its host is silent.
May import host and what is below; not lab.
"""
