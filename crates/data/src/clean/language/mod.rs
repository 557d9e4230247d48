//! Which language a text is in: by a fastText model such as `lid.176.ftz`, or by trigrams without any model.

pub mod fasttext;

use fasttext::FastText;

/// A language and how sure one is of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Language {
    /// ISO 639-1 where there is one ("en"), else what the model calls it ("ceb").
    pub code: String,
    /// From 0 to 1.
    pub confidence: f64,
}

/// Says which language a text is in.
pub trait Identify: Send + Sync {
    /// The most likely language, or nothing for a text that shows none.
    fn identify(&self, text: &str) -> Option<Language>;
}

/// A longer text is judged by its beginning: more would change the answer rarely and cost as much as all the rest.
const TRIGRAM_BYTES_MAX: usize = 16 << 10;

/// Trigrams of 69 languages, by the crate `whatlang`: no model needed, weak on a few words.
#[derive(Debug, Clone, Copy, Default)]
pub struct Trigrams;

impl Identify for Trigrams {
    fn identify(&self, text: &str) -> Option<Language> {
        let found = whatlang::detect(&text[..text.floor_char_boundary(TRIGRAM_BYTES_MAX)])?;
        let code = found.lang().code();
        let entry = TWO_LETTERS.split(' ').find_map(|entry| entry.strip_prefix(code)?.strip_prefix('='));
        Some(Language { code: entry.unwrap_or(code).to_owned(), confidence: found.confidence() })
    }
}

impl Identify for FastText {
    fn identify(&self, text: &str) -> Option<Language> {
        let (label, confidence) = self.predict(text, 1).pop()?;
        let code = label.strip_prefix(fasttext::LABEL_PREFIX).unwrap_or(label).to_owned();
        Some(Language { code, confidence: f64::from(confidence) })
    }
}

/// `whatlang` names languages by ISO 639-3; Aka, Persian and Mandarin by the members of their groups.
const TWO_LETTERS: &str = "afr=af aka=ak amh=am ara=ar aze=az bel=be ben=bn bul=bg cat=ca ces=cs cmn=zh cym=cy dan=da \
    deu=de ell=el eng=en epo=eo est=et fin=fi fra=fr guj=gu heb=he hin=hi hrv=hr hun=hu hye=hy ind=id ita=it jav=jv \
    jpn=ja kan=kn kat=ka khm=km kor=ko lat=la lav=lv lit=lt mal=ml mar=mr mkd=mk mya=my nep=ne nld=nl nob=nb ori=or \
    pan=pa pes=fa pol=pl por=pt ron=ro rus=ru sin=si slk=sk slv=sl sna=sn spa=es srp=sr swe=sv tam=ta tel=te tgl=tl \
    tha=th tuk=tk tur=tr ukr=uk urd=ur uzb=uz vie=vi yid=yi zul=zu";
