"""The command line: the output and the options of each command; the packages below do the work."""
