"""What lm-evaluation-harness' IFEval says of responses: writes tests/fixtures/eval/ifeval.json and languages.json.

    venv/bin/pip install -r tests/interop/requirements-measures.txt
    venv/bin/pip download --no-deps lm-eval==0.4.13 && unzip lm_eval-*.whl -d lm_eval_files
    venv/bin/python tests/interop/ifeval.py lm_eval_files

Sentences are found by NLTK's Punkt with the word lists of core/src/eval/ifeval as its parameters.
"""

import importlib
import sys
import types
from pathlib import Path

import langdetect
import nltk
from nltk.tokenize.punkt import PunktParameters, PunktSentenceTokenizer

from measures import write

LISTS = Path(__file__).parents[2] / "core" / "src" / "eval" / "ifeval"


def harness(folder):
    """lm_eval.tasks.ifeval without the rest of lm_eval."""
    for name in ["lm_eval", "lm_eval.tasks"]:
        sys.modules[name] = types.ModuleType(name)
        sys.modules[name].__path__ = [str(Path(folder) / name.replace(".", "/"))]
    nltk.download = lambda *_: True
    langdetect.DetectorFactory.seed = 0
    parameters = PunktParameters()
    parameters.abbrev_types = set((LISTS / "abbreviations.txt").read_text().split())
    for word in (LISTS / "starters.txt").read_text().split():
        # Seen at the beginning of a sentence in upper case, in the middle in lower case.
        parameters.ortho_context[word] = (1 << 1) | (1 << 5)
    splitter = PunktSentenceTokenizer(parameters)
    nltk.tokenize._get_punkt_tokenizer = lambda *_: splitter
    utils = importlib.import_module("lm_eval.tasks.ifeval.utils")
    util = importlib.import_module("lm_eval.tasks.ifeval.instructions_util")
    util._get_sentence_tokenizer = lambda: splitter
    return utils, util


STORY = """The old lighthouse had stood on the cliff for 120 years. Dr. Miller, who bought it in Sept. 1998, never lived there himself. "It is haunted," he said. "Nobody sleeps there!"

Mrs. Jones disagreed. She moved in on the 3rd of May. What did she find? Rats, mostly... and an old map (drawn by J. R. Smith Jr. of Acme Inc.) of the U.S. coast. The map was worth $3.5 million!!

In the end, everybody was happy."""
RESPONSES = [
    "", " \n ", "yes", "My answer is yes.", "**My answer is no.**", "  My answer is maybe. I think.", "my answer is yes", STORY, "*" + STORY + "*", STORY.upper(), STORY.lower(), STORY.replace(",", ""),
    "Here is the answer:\n" + STORY.replace(",", ""), STORY.replace(",", "") + "\nHope this helps, friend!", "Sure, here:\n" + STORY.lower().replace(",", "") + "\nBye, now!",
    "* one\n* two\n* three", "- one\n- two\n\n- three\n - four", "*one*\n**two**\n* three", "  * a\n  * b\n    - c\n--- rule", "* \n*\nx\n-", "1. First item. 2. Second item.\n3. Third thing", "• dot\n• dot",
    "# Title\n\n*highlight one* and *highlight two* and **bold three** and ** ** and * * and ****", "<<Poem of Joy>>\n\nRoses are red.", "<< >>", "<<<a>>> and <<b\nc>>", "**<<Title>>**\nText", "<<>> x >>",
    "[name] lives at [address], [city]. [[nested] brackets] []", "[a\nb] [c]", "No placeholders here.", "{\"a\": [1, 2.5e-3, \"x\\u00e9\", null, true, {}], \"b\": {\"c\": []}}", "```json\n{\"a\": 1}\n```", "```\n[1, 2,]\n```",
    "Here is the JSON:\n```json\n{\"key\": \"value\"}\n```", "{'a': 1}", "{\"a\": NaN, \"b\": -Infinity}", "[01]", "\"just a string\"", "12", "-", "1.", "\"tab\tinside\"", "\"bad \\x escape\"", "\"\\ud800\"", "{\"a\" 1}", "{\"a\": 1,}", "[1 2]", "nul", "1e5", "[[[]]", "{\"a\":1}}", "\"open", "{1: 2}", "[,]", "-0.0e+1", ".5",
    "Paragraph one.\n\n***\n\nParagraph two.\n***\nParagraph three.", "***\nonly\n***", "one *** two***three", "one\n***\n\n***\ntwo", "a\n* * *\nb", "one\n\ntwo\n\nthree", "one\n\n\n\ntwo", "\n\nFirst, things.\n\n'Second' things.\n\n\"third\" one", "First\n\nsecond! one\n\nTHIRD, yes",
    "'\"Hello\" he said.\n\nWorld", "response one\n******\nresponse two", "same\n******\nsame", "******\na\n******\nb\n******", "a\n******\n\n******\nb", "a ****** b ****** c", "only one ******", "a************b",
    "\"All of this is quoted.\"", "\"", "\"\"", "\"open", "intro\n\"quoted\"", "Text.\n\nP.S. Call me.", "Text.\n\nP.P.S. Call me twice.", "Text. p. s. hello", "Text\nP.S Call", "P. P. S more", "**P.S.** bold", "PS: none", "Post: hi",
    "Section 1\nabc\nSection 2\ndef\nSECTION 3\nghi", "SECTION 1\nabc\nSECTION2\nx", "Section one", "Day 1: go. Day 2: stay. Part 3", "Is there anything else I can help with?", "The end. Any other questions?", "\"Any other questions?\"", "That is all!\nAny other questions?\nThanks",
    "Write a poem about cats. Here it goes: meow.", "**Write a poem about cats.**\nmeow", "Ok.\nwrite a POEM about cats. meow", "cats", "NASA and the USA launched an I-95 X-15 at NATO's base. IT'S A-OK! I CANNOT GO. \"WOW\" (YES) HELLO, 'TIS WANNA.", "Gonna gimme lemme GOTTA WANNA be. It's 'quoted' DON'T. I'LL WE'VE they're J.F.K. U.S.A. AT&T R2D2 42 ÀÉ ß ΑΒΓ",
    "The banana and the Banana split: BANANAS, bananas! A classy class in classical education.", "correlated experiencing C++ and c plus plus; e-mail email E-MAIL", "One.Two.Three. four? Five!Six", "Wait... what?! No way!!! (Really.) \"Yes.\" 'Ok.' Fine", "He left at 5 p.m. yesterday. She came at 6 a.m. The train was late.",
    "See Fig. 3 and vol. 2, pp. 5-7. No. 5 is best. I saw J. Bach. K. The rest. e.g. this, i.e. that. Etc. And so on.", "Version 3.2.1 is out. It costs 5. Buy it. U.S. The flag. 1. Buy milk. 2. buy eggs 3. Sleep", "Hi!!\n\nHow are you?\nFine.\n- Good. Bad.\n\n(One. Two.) Three -- four. [Five.] Six. ---- Seven",
    "Yes. . . . No. . . well", "“Curly.” ‘Quotes.’ «Guillemets.» — Dash. It’s done.", "Ph.D. students vs. M.D. holders met Prof. Lee, Gov. Brown and Messrs. White. Co. rules apply", "half-baked well-known co-op. Anti-Mr. Smith", "a.b.c.d. E.F. G.", "$3.50. $4. 5,000. -6. .7 8.. 9", "word", "!", "...", "?? !! .. . , ; :",
    "مرحبا، كيف حالك؟ أنا بخير.", "今天天气很好。我们去公园吧！", "हिन्दी में लिखो। यह अच्छा है।", "naïve café déjà-vu über 5️⃣ 👩‍👩‍👧 x_y", "words " * 60, "The letter e appears here, every where, eleven times over; hence Ee! # ## !!", "line one,\nline two\nline three,", "trailing stars **\n* x\n**", "ǅ Upper", "ǅ", "ABC ǅ", "123 456", "İSTANBUL", "ﬁ",
    "First.\tSecond.\rThird.\u00a0Fourth.\u2003Fifth", "end with newline.\n", "Mr. and Mrs. Smith went to Washington D.C. last Tuesday. They met Sen. Warren et al. there, approx. ten people.",
    "NATO--USA ABC„DEF“GHI A-'B ROCK-'N-ROLL A-'S 'TIS 'TWAS A–B CAN'T MORE'N D'YE IT'S--OK: YES, A:B NO,", "Say yes.,(Inc. then go. Take 1.; then 2.: ok. J.; x. 3., 4. no",
    "P.S. one.\nThen more.", "```\n[1]\n```", "ABCǅ DEF", "*x y\n*\n* z\n*z", "½the cup, the½ cup: yes₂ _c c_ ½c", "c", "a\x1cB\x1dC",
    "(Yes.)--then no. (Ok.)x went. 'A.' b. Well! ?No \" . ?Yes, no! \".) \n'Hm.'\nYes",
]
ANY = [{}]
AMOUNTS = [("at least", 1), ("less than", 3), ("at least", 3), ("less than", 12), ("at least", 20)]


def arguments():
    amount = lambda relation, number, pairs=AMOUNTS, **more: [{relation: r, number: n, **more} for r, n in pairs]
    return {
        "keywords:existence": [{"keywords": k} for k in (["banana"], ["map", "end"], ["Any", "QUESTIONS"], ["c\\+\\+"], ["e.mail"], ["é"])],
        "keywords:frequency": amount("relation", "frequency", AMOUNTS[:3], keyword="the ") + amount("relation", "frequency", AMOUNTS[:3], keyword="class") + amount("relation", "frequency", AMOUNTS[:2], keyword="a"),
        "keywords:forbidden_words": [{"forbidden_words": w} for w in (["banana"], ["class", "map"], ["the", "yes"], ["c"], ["é", "café"])],
        "keywords:letter_frequency": amount("let_relation", "let_frequency", AMOUNTS[:3], letter="E") + amount("let_relation", "let_frequency", AMOUNTS[1:4], letter="z"),
        "length_constraints:number_sentences": amount("relation", "num_sentences"),
        "length_constraints:number_paragraphs": [{"num_paragraphs": n} for n in (1, 2, 3)],
        "length_constraints:number_words": amount("relation", "num_words"),
        "length_constraints:nth_paragraph_first_word": [{"num_paragraphs": p, "nth_paragraph": n, "first_word": w} for p, n, w in [(3, 1, "First"), (3, 2, "second"), (3, 3, "third"), (2, 1, "Hello"), (2, 2, "two"), (3, 3, "in"), (1, 1, "the"), (3, 2, "two")]],
        "detectable_content:number_placeholders": [{"num_placeholders": n} for n in (1, 3, 5)],
        "detectable_content:postscript": [{"postscript_marker": m} for m in ("P.S.", "P.P.S", " Post:", "p. s.")],
        "detectable_format:number_bullet_lists": [{"num_bullets": n} for n in (1, 2, 3, 4)],
        "detectable_format:constrained_response": ANY,
        "detectable_format:number_highlighted_sections": [{"num_highlights": n} for n in (1, 2, 4)],
        "detectable_format:multiple_sections": [{"section_spliter": s, "num_sections": n} for s, n in [("Section", 1), ("Section", 2), ("SECTION ", 2), ("Day", 2)]],
        "detectable_format:json_format": ANY, "detectable_format:title": ANY, "combination:two_responses": ANY,
        "combination:repeat_prompt": [{"prompt_to_repeat": "Write a poem about cats. "}], "startend:end_checker": [{"end_phrase": p} for p in ("Any other questions?", " is there anything else I can help with?", "happy.", "Meow.")],
        "startend:quotation": ANY, "change_case:capital_word_frequency": amount("capital_relation", "capital_frequency"), "punctuation:no_comma": ANY,
    }


TEXTS = {
    "en": ["It is a truth universally acknowledged that a single man in possession of a good fortune must be in want of a wife.", "Please find the report attached. We look forward to hearing from you soon.", "Dogs are loyal animals and make wonderful companions for families with children.", "the weather is nice today and we are going to the beach", "My answer is yes."],
    "es": ["El perro corre por el parque mientras los niños juegan con la pelota bajo el sol de la tarde.", "Muchas gracias por su ayuda, espero verle pronto en la oficina."],
    "pt": ["O cachorro corre pelo parque enquanto as crianças brincam com a bola sob o sol da tarde.", "Muito obrigado pela sua ajuda, não vejo a hora de conversarmos novamente."],
    "fr": ["Le chien court dans le parc pendant que les enfants jouent au ballon sous le soleil de l'après-midi.", "Je vous remercie beaucoup de votre aide et je vous souhaite une bonne journée."],
    "de": ["Der Hund läuft durch den Park, während die Kinder in der Nachmittagssonne mit dem Ball spielen.", "Vielen Dank für Ihre Hilfe, ich freue mich auf unser nächstes Gespräch."],
    "it": ["Il cane corre nel parco mentre i bambini giocano con la palla sotto il sole del pomeriggio.", "La ringrazio molto per il suo aiuto e spero di vederla presto."],
    "nl": ["De hond rent door het park terwijl de kinderen in de middagzon met de bal spelen en de vogels zingen."],
    "pl": ["Pies biega po parku, a dzieci bawią się piłką w popołudniowym słońcu, podczas gdy rodzice rozmawiają."],
    "fi": ["Koira juoksee puistossa, kun lapset leikkivät pallolla iltapäivän auringossa ja linnut laulavat."],
    "vi": ["Con chó chạy trong công viên trong khi bọn trẻ chơi bóng dưới ánh nắng chiều rất đẹp."],
    "ru": ["Собака бежит по парку, пока дети играют в мяч под лучами послеполуденного солнца."],
    "uk": ["Собака біжить парком, поки діти грають у м'яч під променями пообіднього сонця, і всі дуже щасливі."],
    "bg": ["Кучето тича в парка, докато децата играят с топката под следобедното слънце и родителите си говорят."],
    "ar": ["يركض الكلب في الحديقة بينما يلعب الأطفال بالكرة تحت أشعة شمس الظهيرة الجميلة."],
    "fa": ["سگ در پارک می‌دود در حالی که بچه‌ها زیر آفتاب بعد از ظهر با توپ بازی می‌کنند."],
    "ur": ["کتا پارک میں دوڑ رہا ہے جبکہ بچے دوپہر کی دھوپ میں گیند سے کھیل رہے ہیں۔"],
    "he": ["הכלב רץ בפארק בזמן שהילדים משחקים בכדור תחת שמש אחר הצהריים."],
    "hi": ["कुत्ता पार्क में दौड़ रहा है जबकि बच्चे दोपहर की धूप में गेंद से खेल रहे हैं।"],
    "mr": ["कुत्रा उद्यानात धावत आहे आणि मुले दुपारच्या उन्हात चेंडूने खेळत आहेत."],
    "ne": ["कुकुर पार्कमा दौडिरहेको छ जबकि बच्चाहरू दिउँसोको घाममा बल खेलिरहेका छन्।"],
    "bn": ["কুকুরটি পার্কে দৌড়াচ্ছে আর বাচ্চারা বিকেলের রোদে বল নিয়ে খেলছে।"], "ta": ["நாய் பூங்காவில் ஓடுகிறது, குழந்தைகள் மதிய வெயிலில் பந்து விளையாடுகிறார்கள்."], "te": ["పిల్లలు మధ్యాహ్నం ఎండలో బంతితో ఆడుతుండగా కుక్క పార్కులో పరుగెత్తుతోంది."],
    "kn": ["ಮಕ್ಕಳು ಮಧ್ಯಾಹ್ನದ ಬಿಸಿಲಿನಲ್ಲಿ ಚೆಂಡಿನೊಂದಿಗೆ ಆಡುತ್ತಿರುವಾಗ ನಾಯಿ ಉದ್ಯಾನದಲ್ಲಿ ಓಡುತ್ತದೆ."], "ml": ["കുട്ടികൾ ഉച്ചവെയിലിൽ പന്ത് കളിക്കുമ്പോൾ നായ പാർക്കിൽ ഓടുന്നു."], "gu": ["બાળકો બપોરના તડકામાં બોલથી રમે છે ત્યારે કૂતરો બગીચામાં દોડે છે."],
    "pa": ["ਬੱਚੇ ਦੁਪਹਿਰ ਦੀ ਧੁੱਪ ਵਿੱਚ ਗੇਂਦ ਨਾਲ ਖੇਡਦੇ ਹਨ ਜਦੋਂ ਕਿ ਕੁੱਤਾ ਪਾਰਕ ਵਿੱਚ ਦੌੜਦਾ ਹੈ।"], "th": ["สุนัขวิ่งในสวนสาธารณะขณะที่เด็กๆ เล่นบอลใต้แสงแดดยามบ่าย"], "ko": ["아이들이 오후의 햇살 아래에서 공을 가지고 노는 동안 개가 공원을 달립니다."], "ja": ["子供たちが午後の日差しの下でボール遊びをしている間、犬は公園を走り回っています。"],
}


def cases(utils, util):
    """Of every check, with all its arguments: a digit for each response, 1 if it is followed strictly, plus 2 if loosely."""

    def verdict(id, kwargs, response):
        row = utils.InputExample(key=0, instruction_id_list=[id], prompt="", kwargs=[kwargs])
        strict, loose = (test(row, response).follow_instruction_list[0] for test in (utils.test_instruction_following_strict, utils.test_instruction_following_loose))
        return strict + 2 * loose

    verdicts = []
    for id, choices in arguments().items():
        found = [[id, kwargs, "".join(str(verdict(id, kwargs, response)) for response in RESPONSES)] for kwargs in choices]
        seen = set("".join(digits for _, _, digits in found))
        assert {"0", "3"} <= seen, (id, seen)
        verdicts += found
    counts = {"length_constraints:number_sentences": util.count_sentences, "length_constraints:number_words": util.count_words,
              "change_case:capital_word_frequency": lambda text: sum(word.isupper() for word in nltk.word_tokenize(text))}
    return {"responses": RESPONSES, "verdicts": verdicts, "counts": {id: [count(response) for response in RESPONSES] for id, count in counts.items()}}


def languages(utils):
    rows = []
    for texts in TEXTS.values():
        for text in texts:
            for variant in dict.fromkeys([text, text.upper(), text.lower()]):
                detected = langdetect.detect(variant)
                verdict = lambda id: int(utils.test_instruction_following_strict(utils.InputExample(0, [id], "", [{}]), variant).follow_instruction_list[0])
                rows.append([variant, detected, verdict("change_case:english_capital"), verdict("change_case:english_lowercase")])
    return rows


if __name__ == "__main__":
    utils, util = harness(sys.argv[1])
    write("ifeval.json", cases(utils, util))
    write("languages.json", languages(utils))
