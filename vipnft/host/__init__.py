"""One share on this machine: put on, changed, taken off, compared.

What was there before is on record before the kernel is touched; a step that fails undoes those
before it.
May import kernel and what is below.
"""
