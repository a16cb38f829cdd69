//! Puts the cookies together that HTTP/2 sent apart.

use http::HeaderValue;
use http::header::COOKIE;
use pingora::Result;
use pingora::http::RequestHeader;

/// Leaves one `Cookie` line, as HTTP/1.1 asks for: backends read the first of several, the last, or a mixture.
pub(super) fn join(upstream: &mut RequestHeader) -> Result<()> {
    let crumbs: Vec<_> = upstream.headers.get_all(COOKIE).iter().collect();
    if crumbs.len() < 2 {
        return Ok(());
    }
    let crumbs: Vec<_> = crumbs.iter().map(|crumb| crumb.as_bytes()).collect();
    if let Ok(whole) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])) {
        upstream.insert_header(COOKIE, whole)?;
    }
    Ok(())
}
