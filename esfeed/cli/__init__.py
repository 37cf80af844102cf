"""The command line: what each command says and takes; the work itself is done in the rooms below."""
