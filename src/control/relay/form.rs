//! Takes fields out of forms as they pass by: those of one part become `&`, so that the length stays; in one of several parts they are
//! refused.

use bytes::Bytes;
use memchr::memmem;

use super::names::{is_removed, name_of};

/// A longer name is none that is taken out, however it is escaped.
const LONGEST_NAME: usize = 512;

/// A form of one part that passes by.
#[derive(Default)]
pub(super) struct FormFilter {
    name: Vec<u8>,
    /// What becomes of the rest of the pair at hand; `None` while its name is read.
    removing: Option<bool>,
}

impl FormFilter {
    /// Takes a part and returns what goes on, which may be a few bytes behind.
    pub(super) fn pass(&mut self, part: &[u8]) -> Bytes {
        let mut out = Vec::with_capacity(part.len() + self.name.len());
        for byte in part {
            if *byte == b'&' {
                self.decide(&mut out);
                out.push(b'&');
                self.removing = None;
                continue;
            }
            match self.removing {
                Some(removing) => out.push(if removing { b'&' } else { *byte }),
                None => {
                    self.name.push(*byte);
                    if *byte == b'=' || self.name.len() > LONGEST_NAME {
                        self.decide(&mut out);
                    }
                }
            }
        }
        out.into()
    }

    /// Returns what was held back.
    pub(super) fn finish(&mut self) -> Bytes {
        let mut out = Vec::new();
        self.decide(&mut out);
        out.into()
    }

    fn decide(&mut self, out: &mut Vec<u8>) {
        if self.removing.is_some() {
            return;
        }
        let removing = is_removed(&name_of(&self.name));
        self.removing = Some(removing);
        if removing {
            out.resize(out.len() + self.name.len(), b'&');
            self.name.clear();
        } else {
            out.append(&mut self.name);
        }
    }
}

/// A part of a form has a name that callers may not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Named;

/// A form of several parts that passes by.
#[derive(Default)]
pub(super) struct PartsFilter {
    /// The end of what came before, in which a name may have begun.
    tail: Vec<u8>,
}

impl PartsFilter {
    const MARK: &'static [u8] = b"name=\"";
    /// As long as the longest name and what stands round it.
    const TAIL: usize = 64;

    /// Looks at a part, and says whether it may go on.
    pub(super) fn pass(&mut self, part: &[u8]) -> Result<(), Named> {
        self.tail.extend_from_slice(part);
        for at in memmem::find_iter(&self.tail, Self::MARK) {
            let after = self.tail.get(at + Self::MARK.len()..).unwrap_or_default();
            let name = after.split(|byte| *byte == b'"').next().unwrap_or_default();
            // A file may be named as it likes.
            let before = at.checked_sub(1).and_then(|before| self.tail.get(before));
            if before.is_some_and(u8::is_ascii_alphanumeric) {
                continue;
            }
            if name.len() < after.len() && std::str::from_utf8(name).is_ok_and(is_removed) {
                return Err(Named);
            }
        }
        let rest = self.tail.len().saturating_sub(Self::TAIL);
        self.tail.drain(..rest);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_taken_out_and_the_length_stays() {
        let form = b"a=1&secret=x%26y&b=2&appid&%73ecret=z";
        for at in 0..form.len() {
            let mut filter = FormFilter::default();
            let mut out = filter.pass(&form[..at]).to_vec();
            out.extend(filter.pass(&form[at..]));
            out.extend(filter.finish());
            assert_eq!(out.len(), form.len());
            let left: Vec<&[u8]> = out
                .split(|byte| *byte == b'&')
                .filter(|pair| !pair.is_empty())
                .collect();
            assert_eq!(left, [&b"a=1"[..], b"b=2"], "at {at}");
        }
    }

    #[test]
    fn a_part_that_has_such_a_name_is_seen_wherever_the_form_is_cut() {
        let form = b"--b\r\nContent-Disposition: form-data; name=\"access_token\"\r\n\r\nx";
        for at in 0..form.len() {
            let mut filter = PartsFilter::default();
            let seen = filter
                .pass(&form[..at])
                .and_then(|()| filter.pass(&form[at..]));
            assert_eq!(seen, Err(Named), "at {at}");
        }
        let mut filter = PartsFilter::default();
        assert!(
            filter
                .pass(b"; name=\"media\"; filename=\"secret\"")
                .is_ok()
        );
    }
}
