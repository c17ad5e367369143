"""What the engine's tests stand on has everything that the engine asks for."""

from __future__ import annotations

from tests.unit.bfe.simple_ground import SimpleGround
from wfpd.bfe import Ground


def test_the_ground_has_every_door_of_the_protocol() -> None:
    doors = {name for name in vars(Ground) if not name.startswith("_")}
    assert len(doors) > 10
    assert not doors - set(dir(SimpleGround()))
