"""Bytes that anybody may have written, into every reader of what others write: `make fuzz`.

An error of ours or nothing: no input ends an agent, none is a traceback, none is printed raw.
"""
