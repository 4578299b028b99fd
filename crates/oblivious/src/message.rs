//! Requests and answers as binary HTTP messages (RFC 9292) of known length.
//!
//! The relay sees how long a sealed message is, and the length of an exchange tells how many tokens are in it. So messages are padded with
//! zeros (section 3.8) to whole multiples of a size that one act of a wallet fits into: nearly all of them look the same.

use std::io::Cursor;

use bhttp::{Message, Mode, StatusCode};

use crate::Error;

/// A request is padded to a multiple of this: an exchange of one token for twenty takes some 3 KiB.
pub const REQUEST_STEP: usize = 4 * 1024;
/// An answer is padded to a multiple of this: twenty signatures with their proofs take some 7 KiB, a keyset 6.
pub const ANSWER_STEP: usize = 8 * 1024;

/// Names and values, in order; names in lower case.
pub type Headers = Vec<(String, String)>;

/// A request. It may hold tokens, so it is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Request {
    /// `GET` or `POST`.
    pub method: String,
    /// `http` or `https`.
    pub scheme: String,
    /// Host and port.
    pub authority: String,
    /// Path and query.
    pub path: String,
    /// The headers.
    pub headers: Headers,
    /// The body.
    pub body: Vec<u8>,
}

/// An answer. It may hold signatures, so it is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Response {
    /// The status, 200 or above.
    pub status: u16,
    /// The headers.
    pub headers: Headers,
    /// The body.
    pub body: Vec<u8>,
}

impl Request {
    /// The message, padded.
    pub fn to_bytes(&self) -> Vec<u8> {
        let bytes = |text: &String| text.as_bytes().to_vec();
        let control = (bytes(&self.method), bytes(&self.scheme), bytes(&self.authority), bytes(&self.path));
        let message = Message::request(control.0, control.1, control.2, control.3);
        write(message, &self.headers, &self.body, REQUEST_STEP)
    }

    /// Reads a message, padded or not.
    ///
    /// # Errors
    /// [`Error::Message`] when it is no request, has trailers, has text that is not UTF-8, or something other than zeros follows.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        let message = read(bytes)?;
        let bhttp::ControlData::Request { method, scheme, authority, path } = message.control() else {
            return Err(Error::Message);
        };
        Ok(Request {
            method: text(method)?,
            scheme: text(scheme)?,
            authority: text(authority)?,
            path: text(path)?,
            headers: headers(&message)?,
            body: message.content().to_vec(),
        })
    }
}

impl Response {
    /// The message, padded.
    ///
    /// # Errors
    /// [`Error::Message`] for a status that ends no exchange: below 200, or above 599.
    pub fn to_bytes(&self) -> Result<Vec<u8>, Error> {
        let status = StatusCode::try_from(self.status).map_err(|_| Error::Message)?;
        if status.informational() {
            return Err(Error::Message);
        }
        Ok(write(Message::response(status), &self.headers, &self.body, ANSWER_STEP))
    }

    /// Reads a message, padded or not. Informational answers before it are passed over.
    ///
    /// # Errors
    /// As [`Request::from_bytes`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        let message = read(bytes)?;
        let status = message.control().status().ok_or(Error::Message)?.code();
        Ok(Response { status, headers: headers(&message)?, body: message.content().to_vec() })
    }
}

fn write(mut message: Message, headers: &Headers, body: &[u8], step: usize) -> Vec<u8> {
    for (name, value) in headers {
        message.put_header(name.as_bytes(), value.as_bytes());
    }
    message.write_content(body);
    let mut bytes = Vec::new();
    message.write_bhttp(Mode::KnownLength, &mut bytes).expect("a vector takes everything");
    bytes.resize(bytes.len().next_multiple_of(step), 0);
    bytes
}

fn read(bytes: &[u8]) -> Result<Message, Error> {
    let mut cursor = Cursor::new(bytes);
    let message = Message::read_bhttp(&mut cursor).map_err(|_| Error::Message)?;
    let read = usize::try_from(cursor.position()).map_err(|_| Error::Message)?;
    let padding = bytes.get(read..).unwrap_or_default();
    if padding.iter().any(|byte| *byte != 0) || !message.trailer().is_empty() {
        return Err(Error::Message);
    }
    Ok(message)
}

fn headers(message: &Message) -> Result<Headers, Error> {
    message.header().fields().iter().map(|field| Ok((text(field.name())?, text(field.value())?))).collect()
}

fn text(bytes: &[u8]) -> Result<String, Error> {
    String::from_utf8(bytes.to_vec()).map_err(|_| Error::Message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(body: &[u8]) -> Request {
        Request {
            method: "POST".into(),
            scheme: "https".into(),
            authority: "mint.example".into(),
            path: "/v1/swap?a=b".into(),
            headers: vec![("content-type".into(), "application/json".into())],
            body: body.to_vec(),
        }
    }

    fn response(body: &[u8]) -> Response {
        Response { status: 200, headers: vec![("content-type".into(), "text/plain".into())], body: body.to_vec() }
    }

    #[test]
    fn what_is_written_is_read() {
        for body in [&b""[..], b"{}", &[0; 9_000], &[0xff; 4_096]] {
            assert!(Request::from_bytes(&request(body).to_bytes()).unwrap() == request(body));
            assert!(Response::from_bytes(&response(body).to_bytes().unwrap()).unwrap() == response(body));
        }
    }

    #[test]
    fn lengths_tell_nothing_below_a_step() {
        for length in [0, 1, 500, 3_000] {
            assert_eq!(request(&vec![7; length]).to_bytes().len(), REQUEST_STEP, "{length}");
            assert_eq!(response(&vec![7; length * 2]).to_bytes().unwrap().len(), ANSWER_STEP, "{length}");
        }
        assert_eq!(request(&[7; REQUEST_STEP]).to_bytes().len(), 2 * REQUEST_STEP);
    }

    /// The example of RFC 9292 section 5.1, a request of known length with everything after its headers left out.
    #[test]
    fn a_message_of_others_is_read() {
        let others = hex::decode("00034745540568747470730b6578616d706c652e636f6d012f").unwrap();
        let read = Request::from_bytes(&others).unwrap();
        assert!(read.method == "GET" && read.authority == "example.com" && read.path == "/" && read.body.is_empty());
        assert!(Response::from_bytes(&[0x01, 0x40, 0xc8]).unwrap().status == 200);
    }

    #[test]
    fn what_is_something_else_is_refused() {
        let good = request(b"{}").to_bytes();
        let mut followed = good.clone();
        *followed.last_mut().unwrap() = 1;
        let not_text = [&[0, 3][..], b"G\xffT", &[1], b"h", &[1], b"a", &[1], b"/"].concat();
        for (name, bytes) in
            [("padding", &followed[..]), ("text", &not_text[..]), ("nothing", &[]), ("cut", &good[..9])]
        {
            assert!(Request::from_bytes(bytes).err() == Some(Error::Message), "{name}");
        }
        assert!(Request::from_bytes(&response(b"").to_bytes().unwrap()).is_err());
        assert!(Response::from_bytes(&good).is_err());
        for status in [0, 100, 199, 600] {
            assert!(Response { status, ..response(b"") }.to_bytes().is_err(), "{status}");
        }
    }
}
