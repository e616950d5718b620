//! HTTP/1.1 responses as they come in: heads, bodies, and what follows an upgrade.

use bytes::{Buf, BytesMut};

use super::wire::What;

/// Where in a response the reader is.
#[derive(Debug, Default)]
enum Within {
    #[default]
    Head,
    Length(usize),
    Chunks,
    /// After 101, or a body that ends with the connection.
    Bytes,
}

/// Reads one connection's responses.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    within: Within,
    body: Vec<u8>,
}

impl Reader {
    /// Takes what is complete off the front.
    pub(crate) fn read(&mut self, from: &mut BytesMut, mut add: impl FnMut(What)) {
        loop {
            match self.within {
                Within::Head => {
                    let Some(end) = from.windows(4).position(|four| four == b"\r\n\r\n") else {
                        return;
                    };
                    let head = String::from_utf8_lossy(&from[..end]).into_owned();
                    from.advance(end + 4);
                    self.within = self.head(&head, &mut add);
                }
                Within::Length(left) => {
                    let now = left.min(from.len());
                    self.body.extend_from_slice(&from.split_to(now));
                    if now < left {
                        self.within = Within::Length(left - now);
                        return;
                    }
                    self.complete(&mut add);
                }
                Within::Chunks => {
                    let Some(line) = from.windows(2).position(|two| two == b"\r\n") else {
                        return;
                    };
                    let size = String::from_utf8_lossy(&from[..line]).into_owned();
                    let size = usize::from_str_radix(size.trim(), 16).unwrap_or(0);
                    if from.len() < line + 2 + size + 2 {
                        return;
                    }
                    from.advance(line + 2);
                    self.body.extend_from_slice(&from.split_to(size));
                    from.advance(2);
                    if size == 0 {
                        self.complete(&mut add);
                    } else {
                        add(What::Bytes(size));
                    }
                }
                Within::Bytes => {
                    if !from.is_empty() {
                        add(What::Bytes(from.len()));
                        from.clear();
                    }
                    return;
                }
            }
        }
    }

    fn complete(&mut self, add: &mut impl FnMut(What)) {
        add(What::Body(std::mem::take(&mut self.body)));
        self.within = Within::Head;
    }

    fn head(&self, head: &str, add: &mut impl FnMut(What)) -> Within {
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap_or_default().split(' ').nth(1);
        let status = status.and_then(|status| status.parse().ok()).unwrap_or(0);
        let headers: Vec<(String, &str)> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim()))
            .collect();
        let value = |wanted: &str| {
            headers
                .iter()
                .find(|(name, _)| name == wanted)
                .map(|(_, value)| *value)
        };
        let close = headers
            .iter()
            .any(|(name, value)| name == "connection" && value.to_ascii_lowercase().contains("close"));
        add(What::Head {
            status,
            close,
            version: value("x-version")
                .and_then(|version| version.parse().ok())
                .unwrap_or(0),
        });
        if status == 101 {
            return Within::Bytes;
        }
        if value("transfer-encoding").is_some_and(|coding| coding.contains("chunked")) {
            return Within::Chunks;
        }
        match value("content-length").map(str::parse) {
            Some(Ok(length)) => Within::Length(length),
            _ => Within::Bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Vec<What> {
        let mut all = Vec::new();
        Reader::default().read(&mut BytesMut::from(bytes), |what| all.push(what));
        all
    }

    #[test]
    fn a_close_header_is_seen_with_its_response() {
        let head = What::Head {
            status: 200,
            close: true,
            version: 7,
        };
        let bytes = b"HTTP/1.1 200 OK\r\nX-Version: 7\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi";
        assert_eq!(read(bytes), [head, What::Body(b"hi".to_vec())]);
    }

    #[test]
    fn chunks_are_put_together_and_a_cut_body_is_never_complete() {
        let head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".as_slice();
        let whole = read(&[head, b"2\r\nhi\r\n0\r\n\r\n"].concat());
        assert_eq!(whole.last(), Some(&What::Body(b"hi".to_vec())));
        let cut = read(&[head, b"2\r\nhi\r\n"].concat());
        assert_eq!(cut.last(), Some(&What::Bytes(2)));
    }
}
