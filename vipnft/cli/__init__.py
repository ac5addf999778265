"""The verbs of `vipnft`: they parse words, print, and exit.

Nobody else prints or exits; what a verb needs is imported when it runs: --help waits for nothing.
May import everything.
"""
