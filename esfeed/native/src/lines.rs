//! Fills the form of a line with a hit.

use blake2::digest::consts::U16;
use blake2::{Blake2b, Digest};

use crate::answer::Hit;

/// What lines of a kind are alike in. `text` is what an id is the hash of: the name, the version and the digest of the
/// content go between its pieces. Between those of `line` go the id, the name, the time, the name, the content, the version, the sequence
/// number, the date and the position.
pub struct Form {
    text: [Vec<u8>; 4],
    line: [Vec<u8>; 10],
}

/// Bytes by which a line is longer than its hit is in an answer, about.
pub const MORE: usize = 400;

pub type Pieces = Vec<Vec<u8>>;

/// The forms of those pieces, or why they are none.
pub fn forms(all: Vec<(Pieces, Pieces)>) -> Result<Vec<Form>, &'static str> {
    all.into_iter()
        .map(|(text, line)| {
            let text = text.try_into().map_err(|_| "an id's text has 4 pieces")?;
            let line = line.try_into().map_err(|_| "a line has 10 pieces")?;
            Ok(Form { text, line })
        })
        .collect()
}

/// Appends the line of `hit`, which is a hit of `answer`.
pub fn line(to: &mut Vec<u8>, form: &Form, answer: &[u8], hit: &Hit, position: i64, time: &[u8]) {
    let (mut number, mut version, mut place) = (itoa::Buffer::new(), itoa::Buffer::new(), itoa::Buffer::new());
    let name = &answer[hit.id.clone()];
    let version = version.format(hit.version).as_bytes();
    let id = hexadecimal(
        Blake2b::<U16>::new()
            .chain_update(&form.text[0])
            .chain_update(name)
            .chain_update(&form.text[1])
            .chain_update(version)
            .chain_update(&form.text[2])
            .chain_update(hexadecimal(Blake2b::<U16>::digest(&answer[hit.source.clone()]).into()))
            .chain_update(&form.text[3])
            .finalize()
            .into(),
    );
    let [begin, named, timed, named_again, content, versioned, numbered, dated, placed, end] = &form.line;
    to.extend_from_slice(begin);
    to.extend_from_slice(&id);
    to.extend_from_slice(named);
    to.extend_from_slice(name);
    to.extend_from_slice(timed);
    to.extend_from_slice(time);
    to.extend_from_slice(named_again);
    to.extend_from_slice(name);
    to.extend_from_slice(content);
    one_line(to, &answer[hit.source.clone()]);
    to.extend_from_slice(versioned);
    to.extend_from_slice(version);
    to.extend_from_slice(numbered);
    to.extend_from_slice(hit.seq_no.map_or("null", |seq_no| number.format(seq_no)).as_bytes());
    to.extend_from_slice(dated);
    to.extend_from_slice(hit.date.clone().map_or(b"null", |date| &answer[date]));
    to.extend_from_slice(placed);
    to.extend_from_slice(place.format(position).as_bytes());
    to.extend_from_slice(end);
}

/// JSON as it is, but for line breaks, which are white space in it (`esfeed.model.event.one_line`).
fn one_line(to: &mut Vec<u8>, json: &[u8]) {
    let begin = to.len();
    to.extend_from_slice(json);
    let mut rest = begin;
    while let Some(at) = memchr::memchr2(b'\n', b'\r', &to[rest..]) {
        to[rest + at] = b' ';
        rest += at + 1;
    }
}

fn hexadecimal(digest: [u8; 16]) -> [u8; 32] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = [0; 32];
    for (pair, byte) in text.chunks_exact_mut(2).zip(digest) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
    text
}
