"""A lab of network namespaces: hosts, segment, router, clients.

It runs the command as anybody would, and leaves nothing behind.
May import kernel and what is below; neither host nor agent.
"""
