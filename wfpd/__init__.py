"""wfpd: the Windows Filtering Platform's policy model for Linux, on NFQUEUE."""

__version__ = "0.1.0"
