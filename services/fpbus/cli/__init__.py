"""The `fpbus` command. Data goes to standard output, talk to standard error, and exit codes mean something.

Everything but Typer is imported inside the commands, so that `fpbus --help` answers at once.
"""
