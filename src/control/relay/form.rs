//! Takes fields out of forms as they pass by: they become `&`, so that the length stays.

use bytes::Bytes;

use super::names::{is_removed, name_of};

/// A longer name is none that is taken out, however it is escaped.
const LONGEST_NAME: usize = 512;

/// A form that passes by.
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
            // Some readers take `;` for `&`.
            if matches!(byte, b'&' | b';') {
                self.decide(&mut out);
                out.push(*byte);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_taken_out_and_the_length_stays() {
        let form = b"a=1&secret=x%26y&b=2;3&appid&%73ecret=z&c=4;secret=5&APPID[]=6&+secret=7";
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
            assert_eq!(left, [&b"a=1"[..], b"b=2;3", b"c=4;"], "at {at}");
        }
    }
}
