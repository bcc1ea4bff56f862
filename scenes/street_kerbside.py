"""What stands between fronts and road: lamps, signs, lights, bollards, trees, parked cars."""

from __future__ import annotations

from scenes.camvid import CLASSES
from scenes.street_frontages import crown, park_vehicle, plant
from scenes.street_furniture import ROADSIDE, lantern, sign
from scenes.street_light import SUNLIT, texel
from scenes.street_lot import KERB, PAVEMENT, Lot
from scenes.street_paving import LENGTH
from scenes.street_things import Picture, Post

POLE = CLASSES.index("Pole")
STEEL, IRON = texel((116, 120, 122), POLE), texel((52, 54, 58), POLE)
LAMP_HEIGHT = 7.5  # metres
PARKING_WIDTH = 5.0  # metres from the road's middle to the kerb that leave room for parked cars


def furnish(lot: Lot) -> None:
    """Furnish the pavement and the kerb of a lot."""
    kerb = 0.45 - lot.character.profile.pavement
    for place in range(2):
        if lot.chance(0.6):
            _signpost(lot, kerb + 0.1, lot.start + 12 * place + lot.between(1, 11))
    if lot.chance(0.2):
        for step in range(4):
            _post(lot, kerb - 0.1, lot.start + 14.5 + 2 * step, 0.95, 0.15, IRON)
    if lot.kind == "side street":
        _traffic_light(lot, -0.7, lot.start + LENGTH / 2 - 5.6)
        return
    _lamp(lot, kerb, lot.start + (6 if lot.side < 0 else 18))
    if lot.chance(0.45):
        plant(lot, crown(lot), kerb + 0.5, PAVEMENT)
    if lot.block.section.marking not in ("zebra", "zigzag"):
        _park(lot)


def _park(lot: Lot) -> None:
    """Cars along the kerb, facing as their side of the road drives."""
    profile = lot.character.profile
    if profile.half_road < PARKING_WIDTH:
        return
    for place in range(4):
        if lot.chance(lot.character.parking):
            z = lot.start + 3 + 6 * place + lot.between(-0.4, 0.4)
            heading = 0.0 if lot.side < 0 else 180.0
            park_vehicle(lot, -profile.pavement - 1.05, z, heading, KERB)


def _lamp(lot: Lot, out: float, z: float) -> None:
    _post(lot, out, z, LAMP_HEIGHT, 0.14, STEEL)
    head = lantern(lot.side)
    x = lot.x(out, z) - lot.side * head.width / 2
    lot.put(PAVEMENT, Picture(x, z, head, SUNLIT, LAMP_HEIGHT - 0.15))


def _signpost(lot: Lot, out: float, z: float) -> None:
    plate = sign(lot.pick(ROADSIDE), lot.number_below(3))
    _post(lot, out, z, 2.3 + plate.height * 0.8, 0.07, STEEL)
    lot.put(PAVEMENT, Picture(lot.x(out, z), z - 0.05, plate, lot.light(out), 2.2))


def _traffic_light(lot: Lot, out: float, z: float) -> None:
    _post(lot, out, z, 3.0, 0.11, STEEL)
    head = sign("lights", lot.number_below(3))
    lot.put(PAVEMENT, Picture(lot.x(out, z), z - 0.1, head, SUNLIT, 2.2))


def _post(lot: Lot, out: float, z: float, top: float, width: float, paint: int) -> None:
    lot.put(PAVEMENT, Post(lot.x(out, z), z, width, 0.0, top, paint))
