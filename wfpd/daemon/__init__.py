"""The daemon: builds the parts, starts and stops them in order, and keeps watch."""
