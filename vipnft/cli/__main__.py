"""`python -m vipnft.cli`: what the command of a package runs."""

from vipnft.cli.main import main

main()
