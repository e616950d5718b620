//! One secret for all who may ask: `authorization: Bearer TOKEN`.

use std::fmt;

use http::header::AUTHORIZATION;
use http::request::Parts;

use super::Denied;

/// A token that requests must carry. For [`AdminHost::authorize`](super::AdminHost::authorize).
///
/// # Examples
///
/// ```
/// use orion_drain_admin::BearerToken;
///
/// let token = BearerToken::new("a secret");
/// let request = http::Request::get("/drain").header("authorization", "Bearer a secret").body(()).unwrap();
/// assert!(token.check(&request.into_parts().0).is_ok());
/// let request = http::Request::get("/drain").body(()).unwrap();
/// assert!(token.check(&request.into_parts().0).unwrap_err().challenge);
/// ```
#[derive(Clone)]
pub struct BearerToken(Vec<u8>);

impl BearerToken {
    /// The token, without white space around it. An empty one lets no request in.
    pub fn new(token: &str) -> Self {
        Self(token.trim().as_bytes().to_vec())
    }

    /// Whether the request carries it. How long that takes does not tell how much of a guess was
    /// right.
    ///
    /// # Errors
    ///
    /// [`Denied`] with a challenge: 401.
    pub fn check(&self, request: &Parts) -> Result<(), Denied> {
        let given = request
            .headers
            .get(AUTHORIZATION)
            .and_then(|value| value.as_bytes().split_at_checked(7))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"bearer "))
            .map(|(_, token)| token);
        match given {
            Some(given) if !self.0.is_empty() && same(given, &self.0) => Ok(()),
            Some(_) => Err(Denied::without_credentials("wrong token")),
            None => Err(Denied::without_credentials("a bearer token is required")),
        }
    }
}

fn same(given: &[u8], token: &[u8]) -> bool {
    let different = given.iter().zip(token).fold(0, |sum, (a, b)| sum | (a ^ b));
    given.len() == token.len() && std::hint::black_box(different) == 0
}

impl fmt::Debug for BearerToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BearerToken(..)")
    }
}
