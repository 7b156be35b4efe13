"""Word lists about furniture and other things of a house: corrections, plurals, and categories."""

from __future__ import annotations

# Catalogue names whose words are misspelt, brands, or not what one would say.
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

# Last words of nouns that take no article.
PLURALS = frozenset({
    "apples", "bamboo", "bread", "butter", "clothes", "cutlery", "flowers", "french fries", "glasses",
    "headphones", "keys", "kitchen tools", "logs", "oil servers", "orchids", "pliers", "rails",
    "scissors", "shelves", "shoes", "shorts", "slippers", "sneakers", "soap", "steak", "sunglasses",
    "track lights", "trousers", "tulips",
})  # fmt: skip

# Words that give a category, the first category first; what a noun ends in counts before what it contains.
CATEGORY_WORDS: dict[str, tuple[str, ...]] = {
    "person": (
        "woman", "man", "boy", "girl", "mannequin", "doll",
    ),
    "window": (
        "window", "shutter", "blind",
    ),
    "door": (
        "door",
    ),
    "lamp": (
        "lamp", "light", "lamppost", "lantern", "chandelier", "flashlight", "spotlight", "candle",
        "lights",
    ),
    "chair": (
        "chair", "armchair", "stool", "bench", "seat", "pouf", "ottoman", "lounger", "wheelchair",
    ),
    "sofa": (
        "sofa", "couch",
    ),
    "bed": (
        "bed", "crib", "mattress", "futon", "hammock",
    ),
    "table": (
        "table", "desk", "workbench", "trestles",
    ),
    "cabinet": (
        "cabinet", "wardrobe", "shelves", "bookcase", "cupboard", "dresser", "chest", "sideboard",
        "locker", "vanity", "island", "drawers", "television stand",
    ),
    "plant": (
        "plant", "tree", "bush", "hedge", "cactus", "ficus", "yucca", "orchids", "tulips", "lily",
        "spathiphyllum", "bamboo", "palm", "pine", "cypress", "poplar", "maple", "beech", "acacia",
        "blossom", "flowers", "bonsai",
    ),
    "vehicle": (
        "car", "truck", "bus", "bicycle", "bike", "motorbike", "scooter", "van", "suv", "stroller",
        "tricycle", "skateboard", "biplane", "rowboat", "wheelbarrow",
    ),
    "animal": (
        "horse", "cat", "dog", "chicken", "rabbit", "bulldog", "deer",
    ),
    "food": (
        "cake", "cupcake", "hamburger", "hot dog", "fries", "steak", "bread", "apples", "butter",
        "fruits", "salad", "sushi",
    ),
    "electricity": (
        "plug", "switch", "socket",
    ),
    "bathroom": (
        "washbasin", "toilet", "bidet", "bathtub", "shower", "urinal", "lavatory", "sink", "towel",
    ),
    "kitchenware": (
        "plate", "place setting", "cup", "mug", "glass", "bowl", "pan", "pot", "knife", "fork", "spoon",
        "bottle", "teapot", "tray", "kettle", "kitchen tool", "kitchen tools",
    ),
    "appliance": (
        "oven", "stove", "refrigerator", "machine", "microwave", "cooker", "toaster", "hood", "freezer",
        "dryer", "television", "computer", "laptop", "phone", "printer", "speaker", "fan", "radiator",
        "boiler", "heater", "conditioner", "furnace", "fireplace", "brewer", "blender", "mixer",
    ),
    "clothing": (
        "dress", "cap", "hat", "helmet", "shorts", "trousers", "jacket", "skirt", "shoes", "sneakers",
        "slippers", "moccasin", "glove", "suit", "clothes", "ankle boot",
    ),
    "road": (
        "crossing", "arrow", "parking slot", "rails", "cone", "sidewalk",
    ),
}  # fmt: skip

# Nouns that their words would put into a wrong category.
CATEGORY_EXCEPTIONS = {
    "abdominal bench": "other", "chopping board": "kitchenware", "dog house": "other",
    "doll house": "toy", "hot dog": "food", "indoor bike": "other", "island bath": "bathroom",
    "open sofa bed": "sofa", "plant box": "other", "roasted chicken": "food", "rocking horse": "toy",
    "shower door": "bathroom", "sofa bed": "sofa", "stone lantern": "other", "table tennis bat": "other",
    "tablet": "appliance", "teddy bear": "toy", "toy train": "toy", "wood toy": "toy",
}  # fmt: skip

# Categories that people also call their members by, and the members that they would not.
SPOKEN_CATEGORIES = frozenset(
    {"chair", "table", "sofa", "lamp", "bed", "cabinet", "plant", "car", "door", "window"}
)
NOT_SPOKEN = (
    "stool", "bench", "pouf", "ottoman", "lounger", "seat", "candle", "light", "lantern", "hammock",
    "mattress", "futon", "desk", "shelves", "stand", "island", "locker", "shutter", "blind", "tennis",
    "vanity", "crib", "flashlight",
)  # fmt: skip
