"""`python -m torchmg`: the command line without the installed script."""

from torchmg.cli import main

main()
