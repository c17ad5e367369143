"""One file a command, or a few that belong together; wfpd.cli.parser has the list."""
