"""What the reference packages say of texts, labels and scores: writes tests/fixtures/eval, which the tests of `wgpu_sft::eval` read.

    python3 -m venv venv && venv/bin/pip install -r tests/interop/requirements-measures.txt
    venv/bin/python tests/interop/measures.py
"""

import collections
import json
import logging
import math
import random
import re
import string
from pathlib import Path

import numpy as np
import scipy.stats
from nltk.stem.porter import PorterStemmer
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics import BLEU, CHRF
from sklearn.metrics import accuracy_score, f1_score

logging.getLogger("sacrebleu").setLevel(logging.ERROR)
OUT = Path(__file__).parents[1] / "fixtures" / "eval"

HAND = [  # prediction, references
    ("", [""]), ("", ["x"]), ("x", [""]), (" ", ["\n"]), ("the", ["a"]), ("The", ["the"]), (".", ["."]), ("...", ["!!!"]), ("a b c d", ["a b c d"]),
    ("The cat sat on the mat.", ["The cat is on the mat.", "There is a cat on the mat."]),
    ("the the the the the the the", ["The cat is on the mat.", "there is a cat on the mat"]),
    ("Paris", ["Paris.", "The city of Paris", "paris, France"]), ("It's 3.14, isn't it?", ["It is 3.14 isn't it", "It's 3,14"]),
    ("1,000.50 dollars - that's $1000.5", ["$1,000.50 (one thousand)"]), ("state-of-the-art", ["state of the art"]),
    ("In 1999-2000 there were 10-20% more.", ["In 1999–2000, there were 10–20 % more."]), ("re-\ntry this", ["retry this"]),
    ("&quot;Tom &amp; Jerry&quot; &lt;b&gt; &amp;lt;", ['"Tom & Jerry" <b>']), ("a <skipped> b", ["a b"]), ("x{y}[z]`~|\\/@#%^&*_+=", ["x y z"]),
    ("Straße", ["STRASSE"]), ("ΑΣ ΟΔΟΣ", ["ας οδος"]), ("İstanbul", ["istanbul"]), ("K 300", ["k 300"]), ("ﬁne ǅ", ["fine dž"]),
    ("café", ["cafe\u0301"]), ("a\u0301 the\u0301 an", ["the a\u0301"]), ("naïve façade", ["naive facade"]), ("हिन्दी में लिखो", ["हिन्दी मे लिखा", "हिंदी"]),
    ("今天天气很好。", ["今天的天气很好!"]), ("東京タワー", ["東京スカイツリー"]), ("안녕하세요 세계", ["안녕 세계"]), ("สวัสดีครับ", ["สวัสดี"]), ("مرحبا بالعالم", ["مرحبا يا عالم"]),
    ("😀😃 hi 👩‍👩‍👧", ["😀 hi 👩‍👩‍👧"]), ("🇩🇪 is a flag", ["the flag 🇩🇪"]), ("no\u00a0break\u2003space\u3000wide", ["no break space wide"]),
    ("zero\u200bwidth", ["zero width"]), ("tab\tnew\nline\r\nreturn", ["tab new line return"]), ("\x1cunit\x1fsep", ["unit sep"]), ("trailing  \n\n", ["trailing"]),
    ("First line.\nSecond line here.\n\nThird.", ["Second line here.\nFirst line.\nThird one."]), ("one\ntwo\nthree", ["three\ntwo\none", "one two three"]),
    ("a\nb\nc\nd e f", ["d e f\na\nb c"]), ("\n\nlead", ["lead\n\n"]), ("running runs ran runner easily", ["run runs running easy runners"]),
    ("skies dying lying ties news innings proceed", ["sky die lie tie news inning proceeded"]), ("generalizations oscillators relational", ["generalize oscillate relate"]),
    ("“Smart quotes” — and dashes…", ['"Smart quotes" - and dashes...']), ("¿Qué? ¡Sí! €5 £3 ¥9 ½ ² №", ["Que? Si! 5 euro 3 pounds"]), ("(hi)", ["hi", "( hi )"]),
    ("don't can't won't o'clock", ["do not cannot will not o clock"]), ("UPPER lower MiXeD", ["upper LOWER mixed"]), ("5", ["5.0"]), ("yes", ["no"]), ("A", ["a"]),
    ("an apple a day", ["Apple day"]), ("the the the", ["a an the"]), ("www.example.com/path?x=1&y=2", ["http://www.example.com/path"]), ("e.g. i.e. U.S.A.", ["eg ie USA"]),
    ("x" * 300, ["x" * 299]), ("word " * 60, ["word " * 40 + "other " * 20]), ("٣٤٥ numbers", ["345 numbers"]), ("Ⅷ Ⓐ ª º", ["VIII A a o"]), ("under_score snake_case", ["under score"]), ("a² the½ an₂", ["² ½ ₂", "a² the½"]),
]

SENTENCES = [
    "The quick brown fox jumps over the lazy dog near the river bank.", "In 2019, researchers found that 37.5% of participants preferred option B.",
    "Photosynthesis converts light energy into chemical energy stored in glucose.", "She sold sea shells by the sea shore, but nobody was buying.",
    "Please summarise the following article in three sentences.", "Der schnelle braune Fuchs springt über den faulen Hund.", "La résolution a été adoptée à l'unanimité, hier soir.",
    "Water boils at 100 °C (212 °F) at sea level; at altitude, it's lower.", "To be, or not to be: that is the question - whether 'tis nobler...", "你好，世界！这是一个测试句子，用来评估翻译质量。",
    "机器学习 is fun 2024年", "Привет, как дела? Всё хорошо, спасибо.", "def add(a, b):\n    return a + b\n\nprint(add(2, 3))", "Dear Sir,\n\nThank you for your letter.\nYours faithfully,\nA. Smith",
    "- apples\n- oranges\n- bananas and cherries", "The committee's decision—made unanimously—was final; nevertheless, critics disagreed strongly.", "E = mc² describes mass–energy equivalence.",
    "He paid $1,234.56 for 12 items @ 10% off!", "Relational operators compare values conditionally, formalizing hopefulness and triviality.", "It rained 😀 all day ☔️ and we stayed in 🏠.",
]
FILLER = "the a an of and, to in is not very quickly . ! 42 3.5 however - running cities happily 好 é 🙂 \n".split(" ")


def vary(rng, text):
    """A few random edits of its words: what a model's answer is to a reference."""
    words = text.split(" ")
    for _ in range(rng.randint(1, 5)):
        i = rng.randrange(len(words))
        edit = rng.randrange(6)
        if edit == 0 and len(words) > 1:
            del words[i]
        elif edit == 1:
            words.insert(i, rng.choice(FILLER))
        elif edit == 2:
            words[i] = rng.choice(FILLER)
        elif edit == 3:
            words[i] = words[i].upper() if rng.random() < 0.5 else words[i].capitalize()
        elif edit == 4:
            j = rng.randrange(len(words))
            words[i], words[j] = words[j], words[i]
        else:
            words[i] = words[i].rstrip(".,!?") + rng.choice(["", ".", ",", "ing", "s"])
    return " ".join(words)


def text_pairs():
    rng = random.Random(5)
    pairs = list(HAND)
    while len(pairs) < 232:
        text = rng.choice(SENTENCES)
        if rng.random() < 0.08:
            pairs.append((rng.choice(SENTENCES), [text]))
        elif rng.random() < 0.1:
            pairs.append((vary(rng, " ".join(rng.sample(SENTENCES, 3))), ["\n".join(rng.sample(SENTENCES, 3))]))
        else:
            pairs.append((vary(rng, text), [vary(rng, text) for _ in range(rng.choice([1, 1, 1, 2, 3]))]))
    # Short lines of few words: many common subsequences to choose from.
    lines = lambda: "\n".join(" ".join(rng.choices("abcd", k=rng.randint(1, 6))) for _ in range(rng.randint(1, 5)))
    return pairs + [(lines(), [lines()]) for _ in range(40)]


# SQuAD v1.1's definition: lower case, no punctuation, no articles, single spaces; equality and F1 of bags of words.
def squad_normal(text):
    text = "".join(c for c in text.lower() if c not in set(string.punctuation))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def squad_f1(prediction, reference):
    p, r = squad_normal(prediction).split(), squad_normal(reference).split()
    same = sum((collections.Counter(p) & collections.Counter(r)).values())
    if same == 0:
        return 0.0
    precision, recall = same / len(p), same / len(r)
    return 2 * precision * recall / (precision + recall)


KINDS = ["rouge1", "rouge2", "rougeL", "rougeLsum"]
ROUGE = [RougeScorer(KINDS, use_stemmer=stem) for stem in (False, True)]
TOKENIZERS = ["13a", "none", "char", "intl"]


def bleus():
    """[tokenize, lowercase, effective_order] and the metric."""
    settings = [(t, False, True) for t in TOKENIZERS] + [("13a", True, True), ("13a", False, False), ("intl", True, False)]
    return [(list(s), BLEU(tokenize=s[0], lowercase=s[1], effective_order=s[2], force=True)) for s in settings]


def chrfs():
    """[word_order, lowercase] and the metric."""
    settings = [(0, False), (2, False), (2, True)]
    return [(list(s), CHRF(word_order=s[0], lowercase=s[1])) for s in settings]


def short(x):
    return round(float(x), 9)


def texts():
    pairs, rows = text_pairs(), []
    for prediction, references in pairs:
        found = [scorer.score(references[0], prediction) for scorer in ROUGE]
        rows.append({
            "prediction": prediction, "references": references, "normal": squad_normal(prediction),
            "exact": max(float(squad_normal(prediction) == squad_normal(r)) for r in references), "f1": short(max(squad_f1(prediction, r) for r in references)),
            # [stemmer][kind][precision, recall, F], of the first reference, and the best F over references without stemmer
            "rouge": [[[short(x) for x in scores[kind]] for kind in KINDS] for scores in found],
            "rouge_best": [short(ROUGE[0].score_multi(references, prediction)[kind].fmeasure) for kind in KINDS],
            "bleu": [short(metric.sentence_score(prediction, references).score) for _, metric in bleus()],
            "chrf": [short(metric.sentence_score(prediction, references).score) for _, metric in chrfs()],
        })
    corpora = []
    for first, last in [(0, len(pairs)), (0, 40), (60, 75), (75, 150), (150, 151), (1, 3)]:
        chunk = pairs[first:last]
        width = max(len(r) for _, r in chunk)
        streams = [[r[i] if i < len(r) else None for _, r in chunk] for i in range(width)]
        predictions = [p for p, _ in chunk]
        score = lambda metric: [short(metric.corpus_score(predictions, streams).score), str(metric.get_signature())]
        corpora.append({"first": first, "last": last, "bleu": [score(m) for _, m in bleus()], "chrf": [score(m) for _, m in chrfs()]})
    return {"bleu": [s for s, _ in bleus()], "chrf": [s for s, _ in chrfs()], "pairs": rows, "corpora": corpora}


STEMS = """act adopt agree air allow analog angular ator avail beauti big bless boil bowdler brief call cas cat cease chang city commun compan conform
condition control creat deci decis defens depend die differ digit dis dy easi effect electric employ enjoy exceed fail fall famili fee feed feel file fil fizz flies
fli form formal fuel full fund gather general geo gyroscop happi hesit his hop hope hopp howe ident inform innov inter is itali jump justi kill lie log logi
motor nation nelli news obey octop opera oscill outing plaster poni predic probat prop radical rat relat replac revi roll sens ship siz sky snow spi
stat syzyg tan theor toy tradi tri trivial tro troubl try vietnam vil vivid wolf word work yell yoyo zero""".split()
SUFFIXES = """s es ies ied ed ing eed ingly edly y ly ally alli ational tional enci ency anci ancy izer ize bli ably entli ently eli ousli ously ization ation
ator alism iveness fulness ousness aliti ality iviti ivity biliti bility fulli fully logi logy icate ative alize iciti icity ical ful ness al ance ence er ic able
ible ant ement ment ent ion sion tion ou ism ate iti ous ive e ll lls 9 yy""".split()


def stems():
    """Every stem with a quarter of the suffixes, and the irregular forms."""
    rng, stemmer = random.Random(7), PorterStemmer()
    words = [stem + suffix for stem in STEMS for suffix in rng.sample(SUFFIXES, len(SUFFIXES) // 8)]
    words += list(stemmer.pool) + "skying yyyy ybyb eeee aaed 2nd 1990s ions iing ably".split()
    return {word: stemmer.stem(word) for word in sorted(set(words)) if len(word) > 3}


def classes():
    rng, cases = random.Random(3), []
    for labels, n, skill in [(2, 40, 0.7), (3, 60, 0.5), (5, 200, 0.6), (4, 6, 0.3), (3, 1, 1.0), (3, 9, 0.0)]:
        right = [rng.randrange(labels if n > 10 else labels - 1) for _ in range(n)]
        # -1: the answer names no label.
        given = [r if rng.random() < skill else rng.randrange(-1, labels) for r in right]
        occur = sorted(set(right) | set(given) - {-1})
        cases.append({"labels": labels, "right": right, "given": given, "accuracy": short(accuracy_score(right, given)),
                      "macro_f1": short(f1_score(right, given, labels=occur, average="macro", zero_division=0))})
    return cases


def choices():
    """lm-evaluation-harness' lines (`ConfigurableTask.process_results`): argmax of log-likelihoods, over characters, over bytes."""
    rng = random.Random(4)
    texts = ["yes", "no", "maybe", "a much longer answer, with many words", "naïve café", "東京", "京", "😀", "B", "B", "forty-two", "ß" * 12]
    cases = []
    for _ in range(60):
        picked = rng.sample(texts, rng.randint(2, 5))
        lls = [-round(rng.uniform(0.1, 2.0) * (1 if rng.random() < 0.3 else len(t)), rng.choice([0, 3])) for t in picked]
        characters = np.array([float(len(t)) for t in picked])
        size = np.array([float(len(t.encode("utf-8"))) for t in picked])
        gold = rng.randrange(len(picked))
        picks = [int(np.argmax(np.array(lls) / by)) for by in (1.0, characters, size)]
        cases.append({"choices": picked, "log_likelihoods": lls, "gold": gold, "picks": picks, "scores": [float(p == gold) for p in picks]})
    return cases


def statistics():
    rng = np.random.default_rng(6)
    means = []
    for n in [2, 3, 4, 5, 6, 10, 11, 30, 100, 101, 102, 200, 1000]:
        x = np.round(rng.normal(3, 2, n), 3 if n < 200 else 1)
        low, high = scipy.stats.t.interval(0.95, n - 1, loc=x.mean(), scale=scipy.stats.sem(x))
        means.append({"values": x.tolist(), "estimate": [short(v) for v in (x.mean(), x.std(ddof=1) / math.sqrt(n), low, high)]})
    shares = []
    for right, n in [(0, 10), (10, 10), (1, 1), (3, 7), (50, 100), (1, 400)]:
        x = np.array([1.0] * right + [0.0] * (n - right))
        interval = scipy.stats.binomtest(right, n).proportion_ci(method="wilson")
        stderr = short(x.std(ddof=1) / math.sqrt(n)) if n > 1 else None
        shares.append({"right": right, "of": n, "estimate": [short(x.mean()), stderr, short(interval.low), short(interval.high)]})
    # Another generator draws there: the ends of the intervals differ by chance.
    boot = []
    a, b = rng.gamma(2.0, 1.0, 80).round(3), (rng.gamma(2.0, 1.0, 80) + 1).round(3)
    for name, statistic in [("mean_difference", lambda x, y: (x - y).mean()), ("ratio", lambda x, y: x.sum() / y.sum())]:
        found = scipy.stats.bootstrap((a, b), statistic, paired=True, vectorized=False, n_resamples=20000, method="percentile", random_state=rng)
        interval = found.confidence_interval
        boot.append({"statistic": name, "estimate": [short(v) for v in (statistic(a, b), found.standard_error, interval.low, interval.high)]})
    return {"means": means, "shares": shares, "bootstrap": {"a": a.tolist(), "b": b.tolist(), "found": boot}}


def write(name, value):
    OUT.mkdir(parents=True, exist_ok=True)
    if isinstance(value, list):
        text = "[\n" + ",\n".join(json.dumps(row, ensure_ascii=False, separators=(",", ":")) for row in value) + "\n]\n"
    else:
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n"
    (OUT / name).write_text(text, encoding="utf-8")
    print(f"{name}: {len(text.encode())} bytes")


if __name__ == "__main__":
    write("texts.json", texts())
    write("stems.json", stems())
    write("classes.json", classes())
    write("choices.json", choices())
    write("statistics.json", statistics())
