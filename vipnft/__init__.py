"""One service address, many Linux hosts, no load balancer."""

__version__ = "0.1.0"
