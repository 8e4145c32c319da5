"""Which drawings are taken, by their Unicode names, and what they are called then."""


def listed(text: str) -> list[str]:
    return [" ".join(name.split()) for name in text.split(";") if name.strip()]


# What a visitor is likely to type first; kept whatever they resemble.
FAMOUS = listed("""
red heart; pizza; rocket; dog face; cat face; red apple; automobile; house; sun; star; deciduous tree;
evergreen tree; sunflower; rose; tulip; fish; tropical fish; banana; strawberry; cherries; grapes; watermelon; lemon;
pineapple; hamburger; french fries; hot dog; taco; doughnut; birthday cake; ice cream; cookie; bread; cheese wedge;
carrot; broccoli; tomato; mushroom; butterfly; honeybee; lady beetle; snail; frog; turtle; snake; octopus; crab;
penguin; owl; duck; rooster; chicken; parrot; unicorn; lion; tiger face; bear; panda; fox; rabbit face; pig face;
cow face; monkey face; elephant; giraffe; whale; dolphin; shark; spider; dragon face; ghost; skull; alien; robot;
pile of poo; jack-o-lantern; christmas tree; snowman without snow; fire; droplet; rainbow; cloud; crescent moon;
high voltage; snowflake; umbrella; airplane; bicycle; locomotive; sailboat; helicopter; bus; police car; tractor;
castle; tent; soccer ball; basketball; baseball; american football; bowling; trophy; guitar; trumpet; violin; drum;
bell; musical note; camera; television; laptop; telephone; light bulb; candle; key; hammer; scissors; pencil; book;
envelope; balloon; wrapped gift; teddy bear; crown; top hat; glasses; sunglasses; t-shirt; jeans; dress; gem stone;
bomb; anchor; magnet; syringe; hourglass done; alarm clock; watch; cactus; palm tree; maple leaf; four leaf clover;
egg; avocado; eggplant; ear of corn; popcorn; candy; lollipop; hot beverage; beer mug; wine glass; teapot; ladder;
chair; bed; toilet; door; bathtub; broom; soap; flying saucer; ringed planet; volcano; eyes; brain; tooth; nose; ear;
tongue; bone; lungs; grinning face; clown face; cowboy hat face; nerd face; ninja; mage; mermaid; octopus; check mark;
cross mark; peace symbol; yin yang; green circle; yellow square; large blue diamond; stop sign; dollar banknote;
money bag; credit card; map of japan; compass; world map; globe showing americas; santa claus; puzzle piece;
game die; video game; kite; yo-yo; boxing glove; skateboard; roller skate; ice skate; running shoe; high-heeled shoe;
umbrella on ground; lipstick; ring; backpack; handbag; purse; socks; gloves; scarf; necktie; bikini""")
KEEP_PEOPLE = listed("""
brain; tooth; nose; ear; tongue; bone; lungs; eyes; eye; mouth; footprints; anatomical heart; ninja;
mage; mermaid; santa claus; flexed biceps; thumbs up; waving hand; mechanical leg; astronaut; genie; superhero""")
KEEP_SYMBOLS = listed("""
check mark; cross mark; peace symbol; yin yang; green circle; yellow square; large blue diamond;
warning; no entry; radioactive; biohazard; recycling symbol; atom symbol; plus; red question mark; infinity;
red exclamation mark; up arrow; left arrow; wheelchair symbol; trident emblem; fleur-de-lis; play button;
eight-spoked asterisk; orthodox cross; star of david; om; menorah; hollow red circle; purple square; orange circle""")
DROP = listed("""
guide dog; service dog; horse racing; funeral urn; coffin; cigarette; hamsa; kaaba; love hotel; wedding;
tokyo tower; speaker low volume; speaker medium volume; trackball; dvd; elevator; mahjong red dragon; level slider;
nazar amulet; white cane; long drum; tamale; oden; mate; dango; kiss mark; zzz; anger symbol; hole; man's shoe;
pouring liquid; sport utility vehicle; sauropod; falafel; custard; goal net;
canned food; bento box; curry rice; cooking; carp streamer; flower playing cards; performing arts; card index dividers;
bookmark tabs; card index; card file box; locked with pen; locked with key; envelope with arrow; control knobs;
nesting dolls; diya lamp; desert; stadium; building construction; camping; convenience store; department store;
post office; construction; suspension railway; aerial tramway; mountain railway; monorail; tram; light rail;
high-speed train; railway car; metro; station; tram car; mosque; beach with umbrella; night with stars; milky way;
dizzy; sweat droplets; disguised face; alien monster; oil drum; roller coaster; computer disk; tear-off calendar;
safety vest; running shirt; musical keyboard; film projector; framed picture; collision; national park; landslide;
derelict house; shinto shrine; synagogue; hindu temple; statue of liberty; playground slide; carousel horse; rock;
trolleybus; minibus; articulated lorry; auto rickshaw; railway track; motorway; bus stop; suspension railway;
mountain cableway; horizontal traffic light; cyclone; wind face; sun behind cloud; cloud with snow; shaved ice;
stuffed flatbread; flatbread; fondue; moon cake; roasted sweet potato; sake; amphora; pine decoration; joker;
japanese dolls; wind chime; reminder ribbon; admission tickets; martial arts uniform; cricket game; field hockey;
lacrosse; badminton; flying disc; rugby football; softball; sari; kimono; one-piece swimsuit; flat shoe; thong sandal;
clutch bag; hair pick; prayer beads; postal horn; musical score; fax machine; pager; videocassette; film frames;
page with curl; page facing up; rolled-up newspaper; ledger; label; receipt; inbox tray; outbox tray; black nib;
fountain pen; file folder; open file folder; spiral notepad; spiral calendar; chart decreasing; round pushpin;
linked paperclips; file cabinet; pick; hammer and pick; hammer and wrench; clamp; alembic; petri dish; crutch;
mouse trap; lotion bottle; placard; identification card; broken chain; white flower; lotus; rosette; wilted flower;
hyacinth; sheaf of rice; nest with eggs; ox; water buffalo; ewe; two-hump camel; mammoth; boar; rat; dodo; phoenix;
fearful face; anguished face; hospital; speedboat; motor boat; ferry; hushed face; tired face; weary face;
confounded face; persevering face; pensive face; left speech bubble; right anger bubble; thought balloon; foggy; fog;
red envelope; moon viewing ceremony; tanabata tree; briefs""")
# Everyday words for drawings that Unicode names otherwise.
RENAME = {
    "automobile": "car",
    "deciduous tree": "tree",
    "evergreen tree": "pine tree",
    "locomotive": "steam train",
    "american football": "football",
    "ear of corn": "corn",
    "cheese wedge": "cheese",
    "lady beetle": "ladybug",
    "snowman without snow": "snowman",
    "hot beverage": "cup of coffee",
    "high voltage": "lightning bolt",
    "honeybee": "bee",
    "wrapped gift": "gift",
    "gem stone": "diamond",
    "hourglass done": "hourglass",
    "game die": "dice",
    "jack-o-lantern": "pumpkin",
    "pile of poo": "poo",
    "flying saucer": "ufo",
    "ringed planet": "planet",
    "large blue diamond": "blue diamond",
    "high-heeled shoe": "high heel",
    "globe showing americas": "globe",
    "dollar banknote": "dollar bill",
    "french fries": "fries",
    "hollow red circle": "red ring",
    "running shoe": "sneaker",
    "umbrella on ground": "beach umbrella",
    "mage": "wizard",
    "santa claus": "santa",
    "doughnut": "donut",
    "couch and lamp": "couch",
}
