//! Finds the hits in the answer to a search.

use std::fmt;
use std::ops::Range;

use memchr::memmem;
use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// A hit: places in the answer, and its numbers. `date` is JSON, `None` for one that is missing.
pub struct Hit {
    pub kind: usize,
    pub id: Range<usize>,
    pub version: i64,
    pub seq_no: Option<i64>,
    pub source: Range<usize>,
    pub date: Option<Range<usize>>,
}

/// All hits of an answer, and the (index, type) of each kind.
#[derive(Default)]
pub struct Found {
    pub hits: Vec<Hit>,
    pub kinds: Vec<(String, Option<String>)>,
}

/// The answer with no hits in it, and the hits; `None` where any of it is not plain.
pub fn read(answer: &[u8], field: &str) -> Option<(Vec<u8>, Found)> {
    // Half of a surrogate pair is valid for serde, but no text: Python mends it.
    if memmem::find(answer, b"\\ud").is_some() || memmem::find(answer, b"\\uD").is_some() {
        return None;
    }
    let text = std::str::from_utf8(answer).ok()?;
    let mut reader = Reader { answer: text, field, head: Vec::with_capacity(1 << 10), found: Found::default() };
    let mut json = serde_json::Deserializer::from_str(text);
    Object(&mut reader, 0).deserialize(&mut json).ok()?;
    json.end().ok()?;
    Some((reader.head, reader.found))
}

struct Reader<'a, 'f> {
    answer: &'a str,
    field: &'f str,
    head: Vec<u8>,
    found: Found,
}

impl<'a> Reader<'a, '_> {
    fn place(&self, part: &str) -> Range<usize> {
        let begin = part.as_ptr() as usize - self.answer.as_ptr() as usize;
        begin..begin + part.len()
    }

    /// Takes a hit in; `None` where it is not plain.
    fn add(&mut self, hit: Plain<'a>) -> Option<()> {
        if hit.routing.is_some() || hit.parent.is_some() || !hit.id.bytes().all(stands_as_it_is) {
            return None;
        }
        let source = hit.source.get();
        let date = date(source, self.field)?;
        let kinds = &mut self.found.kinds;
        let same = |(index, kind): &(String, Option<String>)| index == hit.index && kind.as_deref() == hit.kind;
        let kind = kinds.iter().position(same).unwrap_or_else(|| {
            kinds.push((hit.index.to_owned(), hit.kind.map(str::to_owned)));
            kinds.len() - 1
        });
        let made = Hit {
            kind,
            id: self.place(hit.id),
            version: hit.version,
            seq_no: hit.seq_no,
            source: self.place(source),
            date: date.map(|date| self.place(date)),
        };
        self.found.hits.push(made);
        Some(())
    }
}

#[derive(Deserialize)]
struct Plain<'a> {
    #[serde(rename = "_index")]
    index: &'a str,
    #[serde(rename = "_id")]
    id: &'a str,
    #[serde(rename = "_type", default)]
    kind: Option<&'a str>,
    #[serde(rename = "_version", default)]
    version: i64,
    #[serde(rename = "_seq_no", default)]
    seq_no: Option<i64>,
    #[serde(rename = "_routing", default)]
    routing: Option<IgnoredAny>,
    #[serde(rename = "_parent", default)]
    parent: Option<IgnoredAny>,
    #[serde(rename = "_source", borrow)]
    source: &'a RawValue,
}

/// Whether a letter stands in JSON as it does in text.
fn stands_as_it_is(letter: u8) -> bool {
    (b' '..=b'~').contains(&letter) && letter != b'"' && letter != b'\\'
}

/// An object on the way to the hits (`hits` in `hits`). What else it holds goes into the head as it is.
struct Object<'r, 'a, 'f>(&'r mut Reader<'a, 'f>, u8);

impl<'a> DeserializeSeed<'a> for Object<'_, 'a, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'a> Visitor<'a> for Object<'_, 'a, '_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<M: MapAccess<'a>>(self, mut map: M) -> Result<(), M::Error> {
        let Object(reader, depth) = self;
        let mut found = false;
        reader.head.push(b'{');
        let mut rest = false;
        while let Some(key) = map.next_key::<&'a str>()? {
            if rest {
                reader.head.push(b',');
            }
            rest = true;
            reader.head.push(b'"');
            reader.head.extend_from_slice(key.as_bytes());
            reader.head.extend_from_slice(b"\":");
            if key != "hits" {
                let value: &'a RawValue = map.next_value()?;
                reader.head.extend_from_slice(value.get().as_bytes());
                continue;
            }
            if found {
                return Err(M::Error::duplicate_field("hits"));
            }
            found = true;
            if depth == 0 {
                map.next_value_seed(Object(reader, 1))?;
            } else {
                map.next_value_seed(Array(reader))?;
                reader.head.extend_from_slice(b"[]");
            }
        }
        reader.head.push(b'}');
        if found {
            Ok(())
        } else {
            Err(M::Error::missing_field("hits"))
        }
    }
}

struct Array<'r, 'a, 'f>(&'r mut Reader<'a, 'f>);

impl<'a> DeserializeSeed<'a> for Array<'_, 'a, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'a> Visitor<'a> for Array<'_, 'a, '_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an array of hits")
    }

    fn visit_seq<S: SeqAccess<'a>>(self, mut seq: S) -> Result<(), S::Error> {
        while let Some(hit) = seq.next_element::<Plain<'a>>()? {
            self.0.add(hit).ok_or_else(|| S::Error::custom("it is not plain"))?;
        }
        Ok(())
    }
}

/// The JSON of a document's date: nothing where there is none or null; `None` where it is not just a text.
fn date<'a>(source: &'a str, field: &str) -> Option<Option<&'a str>> {
    let mut json = serde_json::Deserializer::from_str(source);
    let found = Field(field).deserialize(&mut json).ok()?;
    match found {
        None | Some("null") => Some(None),
        Some(text) if text.starts_with('"') && text.is_ascii() && !text.contains('\\') => Some(Some(text)),
        Some(_) => None,
    }
}

/// Reads one field of an object, the last of that name, as it stands there.
struct Field<'f>(&'f str);

impl<'a> DeserializeSeed<'a> for Field<'_> {
    type Value = Option<&'a str>;

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'a> Visitor<'a> for Field<'_> {
    type Value = Option<&'a str>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<M: MapAccess<'a>>(self, mut map: M) -> Result<Self::Value, M::Error> {
        let mut found = None;
        while let Some(key) = map.next_key::<Key<'a>>()? {
            if key.0 == self.0 {
                found = Some(map.next_value::<&'a RawValue>()?.get());
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}

/// A name in a document, which may hold escapes.
#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] std::borrow::Cow<'a, str>);
