//! Reads one file out of a form of several parts (RFC 7578).

use bytes::Bytes;
use memchr::memmem;

use super::Upload;

/// Finds the part with this name.
pub(super) fn file(content_type: &str, body: &Bytes, name: &str) -> Option<Upload> {
    let (_, boundary) = content_type.split_once("boundary=")?;
    let boundary = boundary.split(';').next()?.trim().trim_matches('"');
    let separator = format!("--{boundary}");
    let starts: Vec<usize> = memmem::find_iter(body, separator.as_bytes()).collect();
    starts.windows(2).find_map(|pair| {
        let [start, end] = *pair else { return None };
        // A part ends with the line break before the next boundary.
        let part = body.get(start + separator.len() + 2..end.checked_sub(2)?)?;
        let head_end = memmem::find(part, b"\r\n\r\n")?;
        let head = std::str::from_utf8(part.get(..head_end)?).ok()?;
        let named = format!("name=\"{name}\"");
        let mut lines = head.split("\r\n");
        lines.clone().find(|line| line.contains(&named))?;
        let kind = lines.find_map(|line| {
            let (header, value) = line.split_once(':')?;
            header.eq_ignore_ascii_case("content-type").then_some(value)
        });
        Some(Upload {
            content_type: kind.unwrap_or_default().trim().to_owned(),
            bytes: body.slice_ref(part.get(head_end + 4..)?),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_found_by_the_name_of_its_part() {
        let body = Bytes::from_static(
            b"--b\r\nContent-Disposition: form-data; name=\"note\"\r\n\r\nx\r\n\
              --b\r\nContent-Disposition: form-data; name=\"media\"; filename=\"a.png\"\r\n\
              Content-Type: image/png\r\n\r\n1\r\n2\r\n--b--\r\n",
        );
        let found = file("multipart/form-data; boundary=b", &body, "media").unwrap();
        assert_eq!(found.content_type, "image/png");
        assert_eq!(&found.bytes[..], b"1\r\n2");
        assert!(file("multipart/form-data; boundary=c", &body, "media").is_none());
        assert!(file("text/plain", &body, "media").is_none());
        assert!(file("multipart/form-data; boundary=b", &body, "other").is_none());
    }
}
