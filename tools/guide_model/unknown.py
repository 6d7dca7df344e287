"""Questions the guide cannot answer, so that it learns to say so instead of guessing."""

import random

_THINGS = """
photosynthesis gravity a volcano the moon a violin democracy inflation chess a penguin chocolate the stock market
an elephant a rainbow yoga jazz a bicycle the Roman Empire cheese football a black hole a triangle coffee a dinosaur
opera a glacier DNA electricity philosophy a vaccine basketball a novel the ocean magnetism a bridge a spider wine
astrology a mortgage a verb a tornado poetry a whale surfing bread a lawyer religion a pyramid ballet a hamster
the sun a robot vacuum happiness love the meaning of life a prime number algebra a sandwich a tiger karate oxygen
a castle a comet rice a guitar history time an atom a planet a tree snow a knight a piano music art economics
React MySQL JavaScript Excel WordPress Photoshop Bluetooth Bitcoin blockchain a spreadsheet a firewall HTML Minecraft
"""
_SUBJECTS = (
    "quantum", "solar", "ancient", "modern", "organic", "medical", "French", "deep sea", "folk", "nuclear",
    "public",
    "Greek", "wild", "electric", "wooden", "famous", "winter", "urban", "tropical", "digital", "classical", "civil",
)  # fmt: skip
_FIELDS = (
    "physics", "medicine", "law", "history", "art", "dance", "cooking", "engines", "animals", "farming",
    "fashion", "poems",
    "computing", "energy", "music", "theatre", "chemistry", "cars", "birds", "cities", "sports", "holidays",
    "games", "food",
)  # fmt: skip
_PLACES = [
    "France", "Japan", "Brazil", "Egypt", "Canada", "Berlin", "London", "Peru", "Kenya", "Norway", "India", "Rome",
    "Texas", "Mexico", "Spain", "China",
]  # fmt: skip
_PEOPLE = [
    "Hamlet",
    "Mozart",
    "the president",
    "Napoleon",
    "Cleopatra",
    "Shakespeare",
    "Einstein",
    "Picasso",
    "the pope",
    "Beethoven",
]
_DISHES = ["a pizza", "pancakes", "soup", "an omelette", "sushi", "a cake", "pasta", "curry", "bread", "cookies"]
_ACTIONS = [
    "fix my car", "learn the piano", "lose weight", "tie a tie", "train a dog", "paint a wall", "get rich",
    "fall asleep",
    "write a novel", "swim faster", "plant tomatoes", "fly a plane", "buy a house", "change a tyre", "draw a cat",
]  # fmt: skip
_SINGLE = [
    "Tell me a joke", "Sing a song", "What time is it?", "What day is it today?", "Who won the match?",
    "What is my name?",
    "Where am I?", "How old are you?", "Do you like music?", "What should I eat?", "Is it raining?",
    "Do you love me?",
    "What is your favourite colour?", "Write a story", "Write some Python code", "Give me a recipe",
    "Play some music",
    "Who is the king?", "What is the fastest animal?", "How far is the moon?", "Why is the sky blue?", "asdf",
    "blah blah",
    "What happened in 1969?", "Which film should I watch?", "How many people live on Earth?", "When is Easter?",
    "foo bar",
]  # fmt: skip


_MAKERS = (
    "invented", "built", "discovered", "composed", "directed", "founded", "sings", "sells", "won", "drew",
    "designed",
    "played in", "was the first in",
)  # fmt: skip
_MEASURES = ("tall", "old", "deep", "heavy", "far away", "wide", "hot", "expensive", "dangerous", "rare", "long")
_EVENTS = (
    "the bus leave", "the shop open", "the film start", "the museum close", "the flight arrive", "school begin",
    "summer start", "the concert end", "the game begin", "the sun set", "the bank open", "the ferry leave",
)  # fmt: skip
_GOALS = (
    "the station", "the beach", "the hospital", "the town hall", "the harbour", "the zoo", "the castle",
    "the museum",
    "the library", "my hotel", "the stadium", "the city centre",
)  # fmt: skip


def _words() -> list[str]:
    """The things above: an article belongs to the word or words up to the next article."""
    joined = " ".join(_THINGS.split())
    things: list[str] = []
    words = joined.split()
    index = 0
    pairs = {"stock market", "Roman Empire", "black hole", "robot vacuum", "prime number", "meaning of"}
    while index < len(words):
        length = 1
        if words[index] in {"a", "an", "the"}:
            length = 2
            if " ".join(words[index + 1 : index + 3]) in pairs:
                length = 4 if words[index + 1] == "meaning" else 3
        things.append(" ".join(words[index : index + length]))
        index += length
    return things


THINGS = _words()


def unknown_question(rng: random.Random) -> str:
    """A question about something else entirely."""
    thing = rng.choice(THINGS) if rng.random() < 0.6 else f"{rng.choice(_SUBJECTS)} {rng.choice(_FIELDS)}"
    place, person = rng.choice(_PLACES), rng.choice(_PEOPLE)
    patterns = [
        f"What is {thing}?", f"What is {thing}?", f"How does {thing} work?", f"Tell me about {thing}",
        f"Explain {thing}",
        f"What is the capital of {place}?", f"Where is {place}?", f"What is the weather in {place}?",
        f"Who is {person}?",
        f"When was {person} born?", f"Who wrote about {person}?", f"How do I cook {rng.choice(_DISHES)}?",
        f"How do I {rng.choice(_ACTIONS)}?", f"Can you help me to {rng.choice(_ACTIONS)}?",
        f"Write a poem about {thing}",
        f"What is {rng.randint(1, 99)} plus {rng.randint(1, 99)}?", f"Translate {thing} into German",
        f"How many people live in {place}?", f"Do you like {thing}?", f"Why is there {thing}?",
        f"Where can I buy {thing}?",
        f"What do you think about {thing}?", f"How much is {thing}?", f"Who invented {thing}?",
        f"Where does {thing} come from?", f"Teach me {thing}", f"Is {thing} good?", f"What does {thing} mean?",
        rng.choice(_SINGLE), rng.choice(_SINGLE),
        f"Who {rng.choice(_MAKERS)} {thing}?", f"Who {rng.choice(_MAKERS)} {thing}?",
        f"How {rng.choice(_MEASURES)} is {thing}?",
        f"When does {rng.choice(_EVENTS)}?", f"How do I get to {rng.choice(_GOALS)}?",
        f"Where is {rng.choice(_GOALS)}?",
        f"What is the {rng.choice(('price', 'size', 'colour', 'origin', 'age', 'name'))} of {thing}?",
    ]  # fmt: skip
    return rng.choice(patterns)
