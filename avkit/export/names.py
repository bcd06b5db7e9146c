# SPDX-License-Identifier: Apache-2.0
"""Names for the classes and answers of scenes in datasets with classes of their own.

Official readers and loaders accept only the classes of their dataset. Each class of scenes has a name of its own there,
close in meaning where there is one, so the mapping is invertible.
"""

from avkit.scenes import CLASSES


def _table(names: str) -> dict[str, str]:
    return dict(zip(CLASSES, names.split("|"), strict=True))


AVE = _table(
    "Banjo|Church bell|Train horn|Flute|Clock|Motorcycle|Shofar|Goat|Bark|Fixed-wing aircraft, airplane|"
    "Acoustic guitar|Frying (food)"
)
LLP = _table(
    "Basketball_bounce|Telephone_bell_ringing|Car|Accordion|Clapping|Motorcycle|Fire_alarm|Chicken_rooster|Dog|"
    "Helicopter|Acoustic_guitar|Frying_(food)"
)
S4 = _table(
    "playing_tabla|playing_glockenspiel|driving_buses|playing_violin|typing_on_computer_keyboard|lawn_mowing|"
    "ambulance_siren|mynah_bird_singing|dog_barking|helicopter|playing_acoustic_guitar|female_singing"
)
AVSS = _table("drum|bell|trumpet|flute|clock|mower|emergency-car|bird|duck|helicopter|guitar|vacuum-cleaner")
MUSIC_AVQA = _table(
    "drum|xylophone|trumpet|flute|accordion|tuba|saxophone|violin|cello|erhu|acoustic_guitar|ukulele"
) | {"lower left": "left", "lower right": "right", "upper left": "indoor", "upper right": "outdoor"}
