"""What an object is called: corrected catalogue names, and the coarse category of a noun."""

from __future__ import annotations

import re

CORRECTIONS = {
    "air conditioning - external unit": "air conditioner",
    "air conditioning - internal unit": "air conditioner",
    "apple ibook": "laptop",
    "apple imac 1998": "computer",
    "apple imac 2004": "computer",
    "apple iphone": "phone",
    "barnum": "marquee tent",
    "basin": "washbasin",
    "bath": "bathtub",
    "bended coconut tree": "coconut tree",
    "bike": "bicycle",
    "black table": "table",
    "bootie": "ankle boot",
    "cctv": "surveillance camera",
    "chevrolet": "car",
    "child bed": "children's bed",
    "child chair": "children's chair",
    "child hut": "playhouse",
    "child swing": "swing",
    "children chair": "children's chair",
    "children game": "playground",
    "children table": "children's table",
    "class seat": "school chair",
    "clear sofa": "sofa",
    "clothes horse": "drying rack",
    "clothes washing machine": "washing machine",
    "concept sedan 01": "sedan car",
    "concept sedan 02": "sedan car",
    "concept sedan 02 sport": "sports car",
    "contemporary living room": "living room set",
    "convertible sofa bz": "sofa bed",
    "couch": "sofa",
    "cup cake": "cupcake",
    "desk table": "desk",
    "double french window 3 panes": "double french window with three panes",
    "double french window small panes": "double french window with small panes",
    "double vanity": "double vanity cabinet",
    "double window 3 panes": "double window with three panes",
    "double window 4 panes": "double window with four panes",
    "drawers cabinet": "cabinet with drawers",
    "dryer machine": "tumble dryer",
    "entry bell ring": "doorbell",
    "entry speech unit": "intercom",
    "extinguisher": "fire extinguisher",
    "female": "woman",
    "flacon": "perfume bottle",
    "flipper": "pinball machine",
    "ford focus": "car",
    "fork lift": "forklift truck",
    "fridge": "refrigerator",
    "futon couch": "futon sofa",
    "gaz water heater": "gas water heater",
    "hashtray": "ashtray",
    "holding female": "standing woman",
    "holding male": "standing man",
    "induction cooker 2 zones": "induction cooker",
    "induction cooker 4 zones": "induction cooker",
    "large fridge": "large refrigerator",
    "letters box": "letter box",
    "lip stick": "lipstick",
    "little bank": "small bench",
    "little lamp": "small lamp",
    "little plant": "small plant",
    "locked locker": "locker",
    "male": "man",
    "mannequin female": "female mannequin",
    "mannequin male": "male mannequin",
    "milk": "milk carton",
    "mocassin": "moccasin",
    "mower": "lawn mower",
    "old jar": "jar",
    "opened convertible sofa bz": "open sofa bed",
    "osaka chair": "chair",
    "penbox": "pen box",
    "peugeot 308 cc": "convertible car",
    "plate, glass and cutlery": "place setting",
    "plate, glasses and cutlery": "place setting",
    "playstation": "game console",
    "pool lounge": "sun lounger",
    "pottery": "clay pot",
    "puff": "pouf",
    "quadruple french window 3 panes": "quadruple french window with three panes",
    "quadruple french window small panes": "quadruple french window with small panes",
    "relax chair": "lounge chair",
    "renault scenic": "car",
    "rigged fan": "fan",
    "ryokan chair": "legless chair",
    "screen": "television screen",
    "seat leon": "car",
    "short": "shorts",
    "sofa 2 seats": "two-seat sofa",
    "sofa 3 seats": "three-seat sofa",
    "stone grill device": "stone grill",
    "sugar": "sugar bowl",
    "technical table": "drawing table",
    "teck chair": "teak chair",
    "toilets unit": "toilet",
    "tool": "kitchen tool",
    "trunck": "trunk",
    "tv": "television",
    "tv 16:9": "television",
    "tv stand": "television stand",
    "upper shelves cabinet": "upper cabinet with shelves",
    "vanity": "vanity cabinet",
    "vw new beetle": "car",
    "wall flat tv": "flat television",
    "white board": "whiteboard",
    "winchester armchair": "chesterfield armchair",
    "winchester sofa": "chesterfield sofa",
    "woman shoes": "women's shoes",
    "wood bank": "wooden bench",
    "wooden alder table": "alder table",
    "wooden teak table": "teak table",
    "yamaha yzr r6": "motorbike",
}

PLURALS = {
    "apples", "clothes", "flowers", "french fries", "glasses", "headphones", "keys", "kitchen tools", "logs",
    "oil servers", "orchids", "rails", "scissors", "shelves", "shoes", "shorts", "slippers", "sneakers",
    "sunglasses", "track lights", "trousers", "tulips", "pliers", "cutlery", "bread", "butter", "soap",
    "steak", "bamboo",
}  # fmt: skip

# The first rule whose words end the noun, or stand in it as a word, gives the category.
CATEGORY_RULES: tuple[tuple[str, str], ...] = (
    ("person", r"(wo)?man|boy|girl|mannequin|doll"),
    ("window", r"window|shutter|blind"),
    ("door", r"(?<!glass )door(?!bell)|glass door$"),
    ("lamp", r"lamp|light|lamppost|lantern|chandelier|flashlight|spotlight|candle|lights"),
    ("chair", r"chair|armchair|stool|bench|seat|pouf|ottoman|lounger|wheelchair"),
    ("sofa", r"sofa|couch"),
    ("bed", r"bed|crib|mattress|futon|hammock"),
    ("table", r"table|desk|workbench|trestles"),
    (
        "cabinet",
        r"cabinet|wardrobe|shelves|bookcase|cupboard|dresser|chest|sideboard|locker|vanity|island|drawers|"
        r"television stand|kitchen island|island extension",
    ),
    ("plant", r"plant|tree|bush|hedge|cactus|ficus|yucca|orchids|tulips|lily|spathiphyllum|bamboo|palm|pine|"
     r"cypress|poplar|maple|beech|acacia|blossom|flowers|bonsai"),
    ("vehicle", r"car|truck|bus|bicycle|bike|motorbike|scooter|van|suv|stroller|tricycle|skateboard|biplane|rowboat|"
     r"wheelbarrow"),
    ("animal", r"horse|cat|dog|chicken|rabbit|bulldog|deer"),
    ("food", r"cake|cupcake|hamburger|hot dog|fries|steak|bread|apples|butter|fruits|salad|sushi"),
    ("electricity", r"plug|switch|socket"),
    ("bathroom", r"washbasin|toilet|bidet|bathtub|shower|urinal|lavatory|sink|towel"),
    ("kitchenware", r"plate|place setting|cup|mug|glass|bowl|pan|pot|knife|fork|spoon|bottle|teapot|tray|kettle|kitchen tools?"),
    ("appliance", r"oven|stove|refrigerator|machine|microwave|cooker|toaster|hood|freezer|dryer|television|computer|"
     r"laptop|phone|printer|speaker|fan|radiator|boiler|heater|conditioner|furnace|fireplace|brewer|blender|mixer"),
    ("clothing", r"dress|cap|hat|helmet|shorts|trousers|jacket|skirt|shoes|sneakers|slippers|moccasin|glove|suit|"
     r"clothes|ankle boot"),
    ("road", r"crossing|arrow|parking slot|rails|cone|sidewalk"),
)  # fmt: skip

_NOT_WHAT_THEY_END_IN = {
    "rocking horse": "toy", "hot dog": "food", "dog house": "other", "roasted chicken": "food",
    "teddy bear": "toy", "toy train": "toy", "wood toy": "toy", "doll house": "toy", "car model": "vehicle",
    "coffee table": "table", "chopping board": "kitchenware", "flower box": "other", "shower door": "bathroom",
    "refrigerator": "appliance", "table fan": "appliance", "table tennis bat": "other", "chest freezer": "appliance",
    "tablet": "appliance", "piano bench": "chair", "abdominal bench": "other",
    "indoor bike": "other", "table tennis": "table", "football table": "table", "pool table": "table",
    "garage door": "door", "screen door": "door", "glass door cabinet": "cabinet", "changing table": "table",
    "towel rack": "bathroom", "hanging clothes": "clothing", "sofa bed": "sofa", "open sofa bed": "sofa",
    "table with tablecloth": "table", "chair with cushion": "chair", "sleeping bag": "other", "elevator door": "door",
    "armchair ottoman": "chair", "washing machine": "appliance", "coffee machine": "appliance", "sink": "bathroom",
    "plant box": "other", "hose reel": "other", "japanese maple": "plant", "sink cabinet": "cabinet", "tape": "other",
    "island bath": "bathroom", "safe": "other", "stone lantern": "other", "pallet": "other", "sugar bowl": "kitchenware",
}  # fmt: skip

# Names whose coarse category is said as readily as the name itself.
_CALLED_BY_CATEGORY = {"chair", "table", "sofa", "lamp", "bed", "cabinet", "plant", "car", "door", "window"}
_NOT_SAID = re.compile(r"stool|bench|pouf|ottoman|lounger|seat|candle|light|lantern|hammock|mattress|futon|desk|"
                       r"workbench|shelves|stand|island|locker|shutter|blind|tennis|vanity|crib|flashlight")


def noun_of(name: str) -> str:
    """The common noun for a catalogue name: lower case, typos mended, brands replaced.

    Example:
        >>> noun_of("Teck chair")
        'teak chair'
    """
    noun = re.sub(r"\s+", " ", name.strip().lower())
    noun = CORRECTIONS.get(noun, noun)
    noun = re.sub(r"^parking slot.*", "parking slot", noun)
    noun = re.sub(r"^bill (\d+) ?€$", r"\1 euro banknote", noun)
    noun = re.sub(r"^frame .*", "picture frame", noun)
    for word, better in (("female", "woman"), ("male", "man")):
        if "mannequin" not in noun:
            noun = re.sub(rf"\b{word}\b", better, noun)
    return re.sub(r"^lying down ", "lying ", noun) or "object"


def category_of(noun: str) -> str:
    """The coarse category of a noun: chair, table, sofa, lamp, bed, cabinet, plant, vehicle, …, or other."""
    if noun in _NOT_WHAT_THEY_END_IN:
        return _NOT_WHAT_THEY_END_IN[noun]
    head = noun.split(" with ")[0].split(" for ")[0]
    for anchor in (r"\b(?:{})$", r"\b(?:{})\b"):
        for category, words in CATEGORY_RULES:
            if re.search(anchor.format(words), head):
                return category
    return "other"


def names_for(noun: str) -> list[str]:
    """The noun, and the coarser word that people would also use for it where there is one."""
    coarse = "car" if re.search(r"\bcar$", noun) else category_of(noun)
    if coarse in _CALLED_BY_CATEGORY and coarse != noun and not _NOT_SAID.search(noun):
        return [noun, coarse]
    return [noun]


def is_plural(noun: str) -> bool:
    """Whether a noun takes no article: plurals, and what is not counted."""
    return noun in PLURALS or noun.split(" with ")[0].split(" ")[-1] in PLURALS
