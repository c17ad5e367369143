"""The callouts shipped: one a file, each an example to copy."""
