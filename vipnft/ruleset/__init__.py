"""Cluster, host, mode and phases to nft commands. Pure.

A ruleset is a value, and one transaction; none is ever made of a listing.
May import config, buckets, model and errors.
"""
