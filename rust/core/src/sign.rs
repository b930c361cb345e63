//! API-Sign for private REST calls. Holds the secret only as keyed hash state, which is wiped on drop.

use std::fmt;

use base64ct::{Base64, Encoding};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256, Sha512};
use zeroize::Zeroizing;

/// Decoded lengths taken for a secret. Kraken's have 64 bytes; far outside of this a paste went wrong.
const PLAUSIBLE_BYTES: std::ops::RangeInclusive<usize> = 16..=256;

/// Why a secret was refused. The text never shows any of it, and never says where it is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretError {
    /// Not standard base64 with padding.
    NotBase64,
    /// Decodes to an implausible length.
    WrongLength,
}

impl fmt::Display for SecretError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::NotBase64 => "the API secret is not valid base64; copy it again from Kraken",
            Self::WrongLength => "the API secret has an implausible length; copy it again whole",
        })
    }
}

impl std::error::Error for SecretError {}

/// An API secret that can sign and do nothing else.
///
/// Boxed, so that moving the signer does not copy the keyed state around.
pub struct Signer {
    keyed: Box<Hmac<Sha512>>,
}

impl fmt::Debug for Signer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Signer(***)")
    }
}

impl Signer {
    /// Decodes a base64 secret once, into a buffer that never grows and is wiped.
    pub fn new(secret: &[u8]) -> Result<Self, SecretError> {
        let mut decoded = Zeroizing::new(vec![0_u8; secret.len() / 4 * 3]);
        let key = Base64::decode(secret, &mut decoded).map_err(|_| SecretError::NotBase64)?;
        if !PLAUSIBLE_BYTES.contains(&key.len()) {
            return Err(SecretError::WrongLength);
        }
        let keyed = Hmac::new_from_slice(key).map_err(|_| SecretError::WrongLength)?;
        Ok(Self {
            keyed: Box::new(keyed),
        })
    }

    /// Gives `base64(HMAC-SHA512(secret, path || SHA256(nonce || body)))`.
    ///
    /// Source: Kraken API guide "Spot REST authentication".
    #[must_use]
    pub fn sign(&self, path: &str, nonce: &str, body: &[u8]) -> String {
        let inner = Sha256::new()
            .chain_update(nonce)
            .chain_update(body)
            .finalize();
        let mut outer = Hmac::clone(&self.keyed);
        outer.update(path.as_bytes());
        outer.update(&inner);
        Base64::encode_string(&outer.finalize().into_bytes())
    }
}

/// A form body that begins with the nonce, byte for byte as Python's `urllib.parse.urlencode`.
#[derive(Clone, Debug)]
pub struct Form(String);

impl Form {
    /// A form with `nonce` alone.
    #[must_use]
    pub fn new(nonce: &str) -> Self {
        let mut body = String::with_capacity(256);
        body.push_str("nonce=");
        body.push_str(nonce);
        Self(body)
    }

    /// Appends one field.
    pub fn push(&mut self, name: &str, value: &str) {
        self.0.push('&');
        quote_plus(&mut self.0, name);
        self.0.push('=');
        quote_plus(&mut self.0, value);
    }

    /// The body.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn quote_plus(out: &mut String, text: &str) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'_' | b'.' | b'-' | b'~' => {
                out.push(char::from(byte));
            }
            b' ' => out.push('+'),
            _ => {
                out.push('%');
                out.push(char::from(HEX[usize::from(byte >> 4)]));
                out.push(char::from(HEX[usize::from(byte & 15)]));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VECTORS: &str = include_str!("../../../tests/vectors/sign.json");

    #[test]
    fn golden_vectors() {
        let vectors: serde_json::Value = serde_json::from_str(VECTORS).unwrap();
        let text =
            |vector: &serde_json::Value, name: &str| vector[name].as_str().unwrap().to_owned();
        for vector in vectors["vectors"].as_array().unwrap() {
            let signer = Signer::new(text(vector, "secret").as_bytes()).unwrap();
            let signature = signer.sign(
                &text(vector, "path"),
                &text(vector, "nonce"),
                text(vector, "body").as_bytes(),
            );
            assert_eq!(signature, text(vector, "sign"), "{}", vector["name"]);
        }
    }

    #[test]
    fn the_keyed_state_is_wiped_on_drop() {
        fn wiped<T: zeroize::ZeroizeOnDrop>() {}
        // Hmac holds two of these cores and no other copy of the key; it carries no marker itself.
        wiped::<Sha512>();
        wiped::<sha2::block_api::Sha512VarCore>();
    }

    #[test]
    fn forms_are_encoded_like_urlencode() {
        let mut form = Form::new("7");
        form.push("pair", "XBT/USD");
        form.push("a b", "é~_.-*&=+%");
        let body = form.as_str();
        assert_eq!(body, "nonce=7&pair=XBT%2FUSD&a+b=%C3%A9~_.-%2A%26%3D%2B%25");
    }

    #[test]
    fn refusals_are_fixed_texts() {
        for (secret, error) in [
            ("", SecretError::WrongLength),
            ("c2hvcnQ=", SecretError::WrongLength),
            ("not base64!", SecretError::NotBase64),
            (
                "kQH5HW/8p1uGOVjbgWA7FunAmGO8lsSUXNsu3eow76sz84Q18fWxnyRzBHCd3pd5nE9qa99HAZtuZuj6F1huXg",
                SecretError::NotBase64,
            ),
            (
                "kQH5HW/8p1uGOVjbgWA7FunAmGO8lsSUXNsu3eow76sz84Q18fWxnyRzBHCd3pd5nE9qa99HAZtuZuj6F1huXg==\n",
                SecretError::NotBase64,
            ),
        ] {
            let refusal = Signer::new(secret.as_bytes()).unwrap_err();
            assert_eq!(refusal, error);
            assert!(secret.is_empty() || !refusal.to_string().contains(secret));
        }
        assert_eq!(
            format!("{:?}", Signer::new(&[b'A'; 88]).unwrap()),
            "Signer(***)"
        );
    }
}
