"""What lines a street: shops, terraces, offices, colleges, parks, yards, side streets."""

from __future__ import annotations

from scenes.street_facades import VARIANTS, blank_wall, facade
from scenes.street_furniture import FENCES, fence, garden_wall, sign
from scenes.street_greenery import VARIANTS as TREES
from scenes.street_greenery import hedge, tree, woods
from scenes.street_light import SUNLIT
from scenes.street_lot import BACKDROP, BUILDINGS, EDGE, GARDENS, PAVEMENT, Lot
from scenes.street_paving import LENGTH
from scenes.street_texture import Texture, joined
from scenes.street_things import Picture, Vehicle, Wall

WIDTHS = {"shop": 6.8, "house": 5.4, "office": 15.0, "hall": 14.0}  # typical, metres
ROOFS = {"shop": 4.0, "house": 4.0, "office": 1.5, "hall": 6.0}  # what a front has above its eaves
LOWEST = {"shop": 6.4, "house": 5.8, "office": 7.1, "hall": 8.5}  # the lowest eaves of any variant
FAR_DENSITIES = (16.0, 8.0, 4.0)  # texels per metre of a far row of fronts
DEPTH = 9.0  # metres of a building's end that show


def shops(lot: Lot) -> None:
    """Shops along the pavement, with hanging signs."""
    _row(lot, "shop", 0.0)
    for _ in range(1 + lot.number_below(4)):
        z = lot.start + lot.between(1, LENGTH - 1)
        plate = sign("shop", lot.number_below(3))
        lot.put(GARDENS, Picture(lot.x(-0.5, z), z, plate, SUNLIT, 2.9))


def terrace(lot: Lot) -> None:
    """Houses behind narrow front gardens."""
    _row(lot, "house", 2.6)
    _edge(lot, lot.pick(("wall", "hedge", "fence"), (0.25, 0.2, 0.55)), 0.0)
    for _ in range(1 + lot.number_below(3)):
        plant(lot, "bush", lot.between(0.7, 2.0), GARDENS)


def offices(lot: Lot) -> None:
    """Broad low office buildings."""
    _row(lot, "office", lot.pick((0.2, 2.5)))
    if lot.chance(0.4):
        plant(lot, crown(lot), -0.8, PAVEMENT)


def college(lot: Lot) -> None:
    """Stone halls behind a lawn."""
    _row(lot, "hall", 5.0)
    _edge(lot, lot.pick(("fence", "wall")), 0.0)
    if lot.chance(0.6):
        plant(lot, crown(lot), 2.5, GARDENS)


def park(lot: Lot) -> None:
    """Grass and trees, with woods behind."""
    texture = woods(lot.chance(lot.character.bare_trees), lot.number_below(TREES))
    left, right = lot.along(13.0, lot.start, lot.end)
    lot.put(BACKDROP, Wall(left, right, texture, SUNLIT, LENGTH, (0, texture.height)))
    for _ in range(2):
        plant(lot, crown(lot, evergreen=0.2), lot.between(2, 9), GARDENS)
        plant(lot, "bush", lot.between(1, 8), GARDENS)
    edge = lot.pick(("fence", "hedge", "none"), (0.7, 0.2, 0.1))
    if edge != "none":
        _edge(lot, edge, 0.1)


def yard(lot: Lot) -> None:
    """A car park in front of offices."""
    for place in range(3):
        z0 = lot.start + place * 8
        _building(lot, "office", 26.0, z0, z0 + 8, BACKDROP)
        for out, heading, layer in ((5.5, 90.0 * lot.side, GARDENS), (11.0, 90.0, BUILDINGS)):
            if lot.chance(0.7):
                park_vehicle(lot, out, z0 + 4, heading, layer)
    _edge(lot, lot.pick(("fence", "wall", "hedge"), (0.5, 0.25, 0.25)), 0.2)
    plant(lot, crown(lot), 1.2, GARDENS)


def side_street(lot: Lot) -> None:
    """A road across, between corner buildings, closed by houses farther back."""
    middle, kind = (lot.start + lot.end) / 2, lot.pick(("shop", "house", "office"))
    _building(lot, kind, 0.3, lot.start, middle - 6.2, BUILDINGS)
    _building(lot, kind, 0.3, middle + 6.2, lot.end, BUILDINGS)
    texture = facade(kind, lot.number_below(VARIANTS))
    left, right = lot.across(0.3, 22, middle + 6.2)
    span = round(22 / texture.width) * texture.width
    lot.put(BUILDINGS, Wall(left, right, texture, SUNLIT, span, (0, texture.height)))
    _building(lot, "house", 34.0, middle - 9, middle + 9, BACKDROP)


FRONTAGES = {
    "shops": shops,
    "terrace": terrace,
    "offices": offices,
    "college": college,
    "park": park,
    "yard": yard,
    "side street": side_street,
}
GROUNDS = {"park": "grass", "college": "grass", "yard": "yard", "side street": "side street"}


def plant(lot: Lot, kind: str, out: float, layer: int) -> None:
    """A tree or bush somewhere along the lot."""
    z = lot.start + lot.between(0, LENGTH)
    texture = tree(kind, lot.number_below(TREES))
    lot.put(layer, Picture(lot.x(out, z), z, texture, lot.light(out)))


def crown(lot: Lot, evergreen: float = 0.0) -> str:
    """The kind of a tree, by the season of the street."""
    if lot.chance(evergreen):
        return "conifer"
    return "bare" if lot.chance(lot.character.bare_trees) else "leafy"


def park_vehicle(lot: Lot, out: float, z: float, heading: float, layer: int) -> None:
    """A parked vehicle; buses do not park."""
    kind, paint = lot.pick(lot.character.fleet)
    kind = "van" if kind == "bus" else kind
    lot.put(layer, Vehicle(lot.x(out, z), z, kind, paint, heading, lot.light(out)))


def _building(lot: Lot, kind: str, out: float, z0: float, z1: float, layer: int) -> None:
    """A building that stands alone."""
    texture = facade(kind, lot.number_below(VARIANTS))
    eaves = texture.height - ROOFS[kind]
    lot.put(layer, _front(lot, texture, out, z0, z1))
    lot.put(layer, _end(lot, out, z0, (0, eaves)))
    lot.cast_shadow(out, eaves)


def _row(lot: Lot, kind: str, out: float) -> None:
    """Fronts wall to wall along the lot, stretched a little to fit; one wall from afar."""
    count = max(1, round(LENGTH / WIDTHS[kind]))
    width = LENGTH / count
    goes_on = lot.character.stretch(lot.number - 1, lot.side) == lot.kind
    before, parts = LOWEST[kind] if goes_on else 0.0, []
    for place in range(count):
        z0 = lot.start + place * width
        texture = facade(kind, lot.number_below(VARIANTS))
        eaves = texture.height - ROOFS[kind]
        lot.put_near(BUILDINGS, _front(lot, texture, out, z0, z0 + width))
        if eaves > before:  # else the nearer neighbour hides it
            lot.put(BUILDINGS, _end(lot, out, z0, (before, eaves)))
        lot.cast_shadow(out, eaves)
        before = eaves
        parts.append((texture, width))
    whole = joined(parts if lot.side < 0 else parts[::-1], FAR_DENSITIES)
    lot.put_far(BUILDINGS, _front(lot, whole, out, lot.start, lot.end))


def _front(lot: Lot, texture: Texture, out: float, z0: float, z1: float) -> Wall:
    left, right = lot.along(out, z0, z1)
    light = lot.character.front_light(lot.side)
    span = texture.width - 0.02  # so that the last column of pixels does not wrap to the first
    return Wall(left, right, texture, light, span, (0, texture.height))


def _end(lot: Lot, out: float, z: float, heights: tuple[float, float]) -> Wall:
    """The part of the blank wall at a building's near end that its neighbour does not hide."""
    left, right = lot.across(out, DEPTH, z)
    texture = blank_wall(lot.number_below(8))
    return Wall(left, right, texture, SUNLIT, DEPTH, (heights[0], min(heights[1], texture.height)))


def _edge(lot: Lot, kind: str, out: float) -> None:
    """A fence, wall or hedge along the back of the pavement."""
    variant = lot.number_below(3)
    if kind == "wall":
        texture = garden_wall(variant)
    elif kind == "hedge":
        texture = hedge(variant)
    else:
        texture = fence(lot.pick(FENCES), variant)
    left, right = lot.along(out, lot.start, lot.end)
    light = lot.character.front_light(lot.side)
    lot.put(EDGE, Wall(left, right, texture, light, LENGTH, (0, texture.height)))
