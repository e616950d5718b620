//! The parameters of an admin request, as Envoy reads them: percent-encoded, of two with one name
//! the first.

use http::Uri;

/// The parameters behind the `?`.
#[derive(Debug)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// Parameters whose percent encoding is broken are taken as they stand.
    pub(super) fn of(uri: &Uri) -> Self {
        let text = |text: &str| decoded(text).unwrap_or_else(|| text.to_owned());
        let pairs = uri.query().unwrap_or_default().split('&');
        let pairs = pairs.filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (text(name), text(value))
        });
        Self(pairs.collect())
    }

    /// The value of a parameter, empty if it has none; `None` if it is not there.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(have, _)| have == name);
        found.map(|(_, value)| value.as_str())
    }

    /// All of them.
    pub(super) fn pairs(&self) -> &[(String, String)] {
        &self.0
    }

    /// Whether a parameter is there, whatever its value.
    pub(super) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }
}

/// Text without its percent encoding; `None` if that is broken.
pub(super) fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = match (first, tail) {
            (b'%', [high, low, tail @ ..]) => {
                let digit = |byte: &u8| char::from(*byte).to_digit(16);
                bytes.push(u8::try_from(digit(high)? * 16 + digit(low)?).ok()?);
                tail
            }
            (b'%', _) => return None,
            (byte, tail) => {
                bytes.push(*byte);
                tail
            }
        };
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(text: &str) -> Query {
        Query::of(&format!("/stats?{text}").parse().expect("a path"))
    }

    #[test]
    fn names_and_values_are_decoded_and_the_first_of_two_counts() {
        let query = query("usedonly&filter=%5Eserver%5C.live%24&filter=x&a%3Db=c=d&=");
        assert!(query.has("usedonly") && query.get("usedonly") == Some(""));
        assert_eq!(query.get("filter"), Some("^server\\.live$"));
        assert_eq!(query.get("a=b"), Some("c=d"));
        assert!(!query.has("used"));
    }

    #[test]
    fn broken_encoding_is_taken_as_it_stands() {
        assert_eq!(query("filter=100%&b=%zz").get("filter"), Some("100%"));
        assert_eq!(decoded("a%2Fb%20%C3%A4"), Some("a/b ä".to_owned()));
        for broken in ["%", "%2", "%zz", "%ff"] {
            assert_eq!(decoded(broken), None, "{broken}");
        }
    }
}
