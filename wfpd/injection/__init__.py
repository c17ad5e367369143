"""Packets that callouts inject: who may, what is known of them later, and the process that sends them.

The daemon cannot open raw sockets under its unit, so a helper of its own (`helper`) does, and is started only
when a policy has a callout that injects.
"""
