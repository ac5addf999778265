"""Who owns which bucket, and in which phase it is. Pure.

From arguments alone, and alike on every machine: hosts that never talk agree.
May import model and errors.
"""
