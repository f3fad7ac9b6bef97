//! Which language a response is in.

use whatlang::Lang;

/// ISO 639-1 codes of IFEval's languages that can be told here: all but Swahili (`sw`).
const LANGUAGES: [(&str, Lang); 29] = [
    ("en", Lang::Eng),
    ("es", Lang::Spa),
    ("pt", Lang::Por),
    ("ar", Lang::Ara),
    ("hi", Lang::Hin),
    ("fr", Lang::Fra),
    ("ru", Lang::Rus),
    ("de", Lang::Deu),
    ("ja", Lang::Jpn),
    ("it", Lang::Ita),
    ("bn", Lang::Ben),
    ("uk", Lang::Ukr),
    ("th", Lang::Tha),
    ("ur", Lang::Urd),
    ("ta", Lang::Tam),
    ("te", Lang::Tel),
    ("bg", Lang::Bul),
    ("ko", Lang::Kor),
    ("pl", Lang::Pol),
    ("he", Lang::Heb),
    ("fa", Lang::Pes),
    ("vi", Lang::Vie),
    ("ne", Lang::Nep),
    ("kn", Lang::Kan),
    ("mr", Lang::Mar),
    ("gu", Lang::Guj),
    ("pa", Lang::Pan),
    ("ml", Lang::Mal),
    ("fi", Lang::Fin),
];

/// The language with this code, if it can be told.
pub(super) fn by_code(code: &str) -> Option<Lang> {
    LANGUAGES
        .iter()
        .find(|(known, _)| *known == code)
        .map(|(_, language)| *language)
}

/// Whether a text is in this language, or has no letters to tell.
pub(super) fn is_in(text: &str, language: Lang) -> bool {
    whatlang::detect_lang(text).is_none_or(|found| found == language)
}
