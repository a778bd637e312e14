"""Pairs of words that stand in for each other: the other gender, another name, the opposite opinion."""

from collections.abc import Mapping

GENDER = {
    "he": "she", "him": "her", "his": "her", "himself": "herself", "man": "woman", "men": "women", "boy": "girl",
    "boys": "girls", "father": "mother", "fathers": "mothers", "dad": "mom", "son": "daughter", "sons": "daughters",
    "brother": "sister", "brothers": "sisters", "husband": "wife", "husbands": "wives", "uncle": "aunt",
    "nephew": "niece", "actor": "actress", "actors": "actresses", "hero": "heroine", "king": "queen",
    "prince": "princess", "gentleman": "lady", "gentlemen": "ladies", "male": "female", "mr.": "mrs.", "guy": "gal",
    "grandfather": "grandmother", "boyfriend": "girlfriend", "widower": "widow", "waiter": "waitress",
    "他": "她", "男人": "女人", "男孩": "女孩", "父亲": "母亲", "爸爸": "妈妈", "儿子": "女儿", "丈夫": "妻子",
    "先生": "女士", "男演员": "女演员",
}  # fmt: skip
NAMES = {
    "John": "Jamal", "Mary": "Fatima", "James": "Wei", "Emma": "Mei", "Michael": "Mohammed", "Sarah": "Aisha",
    "David": "Dmitri", "Anna": "Priya", "Robert": "Carlos", "Laura": "Lucia", "Peter": "Kwame", "Julia": "Yuki",
    "王伟": "张强", "李娜": "刘洋",
}  # fmt: skip
SENTIMENT = {
    "good": "bad", "better": "worse", "best": "worst", "great": "terrible", "excellent": "awful",
    "wonderful": "dreadful", "brilliant": "stupid", "clever": "foolish", "funny": "unfunny", "hilarious": "tedious",
    "interesting": "boring", "exciting": "dull", "fascinating": "tiresome", "beautiful": "ugly", "lovely": "horrid",
    "charming": "annoying", "delightful": "irritating", "enjoyable": "painful", "entertaining": "monotonous",
    "engaging": "lifeless", "fresh": "stale", "original": "derivative", "inventive": "unimaginative",
    "smart": "dumb", "strong": "weak", "superb": "abysmal", "powerful": "feeble", "moving": "numbing",
    "satisfying": "disappointing", "memorable": "forgettable", "believable": "implausible", "perfect": "flawed",
    "success": "failure", "succeeds": "fails", "triumph": "disaster", "masterpiece": "mess", "pleasure": "chore",
    "love": "hate", "loves": "hates", "loved": "hated", "like": "dislike", "liked": "disliked", "enjoyed": "endured",
    "happy": "sad", "pleasant": "unpleasant", "helpful": "useless", "kind": "cruel", "polite": "rude",
    "right": "wrong", "clear": "confusing", "correct": "incorrect", "useful": "pointless", "thrilling": "plodding",
    "精彩": "无聊", "优秀": "糟糕", "最好": "最差", "喜欢": "讨厌", "好看": "难看", "有趣": "乏味", "成功": "失败",
}  # fmt: skip
WORD_PAIRS: dict[str, Mapping[str, str]] = {"gender": GENDER, "names": NAMES, "sentiment": SENTIMENT}
