"""The packet path's door: import compiled parts from here only."""
