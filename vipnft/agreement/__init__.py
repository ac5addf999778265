"""What the agents of a cluster agree on, and how one of them decides. Pure.

At no instant do two hosts answer for one bucket, however long anybody is paused anywhere.
May import config, buckets, model and errors.
"""
