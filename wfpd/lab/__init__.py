"""The lab behind `make run`: three namespaces, the real daemon between two of them, real probes."""
