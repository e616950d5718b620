//! How long a body is: one `content-length`, or chunks (RFC 9112, section 6.3).

use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue};

/// Several lengths that differ, one that is no number, one beside chunks, or a coding that is not
/// known here.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Contradiction;

/// Leaves one length of several that are the same: what reads the message next must not take
/// another length than was taken here.
pub(crate) fn settle(headers: &mut HeaderMap) -> Result<(), Contradiction> {
    match in_chunks(headers) {
        Some(true) if !headers.contains_key(CONTENT_LENGTH) => return Ok(()),
        Some(_) => return Err(Contradiction),
        None => {}
    }
    let mut lengths = headers
        .get_all(CONTENT_LENGTH)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(number);
    let Some(first) = lengths.next() else {
        return Ok(());
    };
    let length = first.ok_or(Contradiction)?;
    if lengths.any(|other| other != Some(length)) {
        return Err(Contradiction);
    }
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    Ok(())
}

/// The same for a response that has no body by its status: it may say no length but 0, which is
/// left out (RFC 9112, section 6.3; RFC 9110, section 8.6).
pub(crate) fn settle_without_body(headers: &mut HeaderMap) -> Result<(), Contradiction> {
    let length = headers.remove(CONTENT_LENGTH);
    match headers.contains_key(TRANSFER_ENCODING) || length.is_some_and(|length| length != "0") {
        true => Err(Contradiction),
        false => Ok(()),
    }
}

/// Whether a body comes in chunks and in nothing else; `None`: it does not say so. Chunks are taken
/// off and made again, what else a body was put into would be lost on the way.
pub(crate) fn in_chunks(headers: &HeaderMap) -> Option<bool> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let coding = codings.next()?;
    let is_chunked = coding.as_bytes().eq_ignore_ascii_case(b"chunked");
    Some(is_chunked && codings.next().is_none())
}

fn number(text: &[u8]) -> Option<u64> {
    let text = text.trim_ascii();
    let is_number = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(text)
        .ok()
        .filter(|_| is_number)?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settled(fields: &[(&'static str, &'static str)]) -> Result<Option<String>, Contradiction> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_static(value));
        }
        settle(&mut headers)?;
        assert!(headers.get_all(CONTENT_LENGTH).iter().count() < 2);
        let left = headers.get(CONTENT_LENGTH);
        Ok(left.map(|left| left.to_str().expect("digits").to_owned()))
    }

    #[test]
    fn one_length_is_left_or_none() {
        let length = |value| ("content-length", value);
        assert_eq!(settled(&[]), Ok(None));
        for fields in [
            &[length("5")][..],
            &[length("005")],
            &[length("5, 5")],
            &[length("5"), length("5,5")],
        ] {
            assert_eq!(settled(fields), Ok(Some("5".to_owned())), "{fields:?}");
        }
        for fields in [
            &[length("5, 6")][..],
            &[length("5"), length("6")],
            &[length("+5")],
            &[length("-5")],
            &[length("five")],
            &[length("")],
            &[length("5,")],
            &[length("18446744073709551616")],
        ] {
            assert_eq!(settled(fields), Err(Contradiction), "{fields:?}");
        }
        let chunked = ("transfer-encoding", "chunked");
        assert_eq!(settled(&[chunked]), Ok(None));
        assert_eq!(settled(&[length("3"), chunked]), Err(Contradiction));
        for coding in ["gzip", "gzip, chunked", "chunked, chunked"] {
            let coding = ("transfer-encoding", coding);
            assert_eq!(settled(&[coding]), Err(Contradiction), "{coding:?}");
        }
        assert_eq!(settled(&[chunked, chunked]), Err(Contradiction));
    }
}
