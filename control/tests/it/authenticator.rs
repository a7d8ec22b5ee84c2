//! A device with one passkey, in software: ES256 keys and no attestation, as WebAuthn level 3 has them (5.8.1, 6.1, 6.5).
//! What it answers can be bent, to see what is refused.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

const PRESENT: u8 = 1;
const VERIFIED: u8 = 1 << 2;
const WITH_KEY: u8 = 1 << 6;

/// The device, and what it is made to say.
pub struct Device {
    /// Of the page that asks.
    pub origin: String,
    /// Instead of the one in the question.
    pub rp_id: Option<String>,
    /// Instead of the one in the question.
    pub challenge: Option<String>,
    /// It checked who holds it.
    pub is_verified: bool,
    /// Grows with each use, if it counts: keys that wander between devices do not.
    pub counter: u32,
    pub counts: bool,
    pub id: Vec<u8>,
    /// The id of the person, as it was told when the passkey was made.
    pub user: Vec<u8>,
    key: EcdsaKeyPair,
}

fn text(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl Device {
    pub fn new(origin: &str) -> Device {
        Device {
            origin: origin.to_owned(),
            rp_id: None,
            challenge: None,
            is_verified: true,
            counter: 0,
            counts: true,
            id: uuid::Uuid::new_v4().as_bytes().to_vec(),
            user: Vec::new(),
            key: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap(),
        }
    }

    /// Takes over the key of this device, as somebody who copied it could.
    pub fn copy(&self) -> Device {
        let pkcs8 = self.key.to_pkcs8v1().unwrap();
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8.as_ref()).unwrap();
        Device {
            origin: self.origin.clone(),
            rp_id: None,
            challenge: None,
            is_verified: true,
            counter: self.counter,
            counts: self.counts,
            id: self.id.clone(),
            user: self.user.clone(),
            key,
        }
    }

    /// Answers `navigator.credentials.create`.
    pub fn make(&mut self, options_json: &str) -> String {
        let options: Value = serde_json::from_str(options_json).unwrap();
        self.user = URL_SAFE_NO_PAD.decode(options["user"]["id"].as_str().unwrap()).unwrap();
        let client = self.client_data("webauthn.create", &options);
        let mut data = self.authenticator_data(options["rp"]["id"].as_str().unwrap(), WITH_KEY);
        data.extend([0; 16]);
        data.extend(u16::try_from(self.id.len()).unwrap().to_be_bytes());
        data.extend(&self.id);
        // COSE (RFC 9053): EC2, ES256, P-256, x, y.
        let point = self.key.public_key().as_ref();
        data.extend([0xa5, 0x01, 0x02, 0x03, 0x26, 0x20, 0x01, 0x21, 0x58, 0x20]);
        data.extend(&point[1..33]);
        data.extend([0x22, 0x58, 0x20]);
        data.extend(&point[33..]);
        let mut attestation = b"\xa3\x63fmt\x64none\x67attStmt\xa0\x68authData\x58".to_vec();
        attestation.push(u8::try_from(data.len()).unwrap());
        attestation.extend(data);
        let response = json!({
            "clientDataJSON": text(&client),
            "attestationObject": text(&attestation),
            "transports": ["internal", "something-new"],
        });
        self.credential(response)
    }

    /// Answers `navigator.credentials.get`.
    pub fn show(&mut self, options_json: &str) -> String {
        let options: Value = serde_json::from_str(options_json).unwrap();
        self.counter += u32::from(self.counts);
        let client = self.client_data("webauthn.get", &options);
        let data = self.authenticator_data(options["rpId"].as_str().unwrap(), 0);
        let signed = [data.as_slice(), digest(&SHA256, &client).as_ref()].concat();
        let signature = self.key.sign(&SystemRandom::new(), &signed).unwrap();
        let response = json!({
            "clientDataJSON": text(&client),
            "authenticatorData": text(&data),
            "signature": text(signature.as_ref()),
            "userHandle": text(&self.user),
        });
        self.credential(response)
    }

    fn credential(&self, response: Value) -> String {
        let id = text(&self.id);
        json!({"id": id, "rawId": id, "type": "public-key", "response": response}).to_string()
    }

    fn client_data(&self, kind: &str, options: &Value) -> Vec<u8> {
        let challenge = self.challenge.as_deref().unwrap_or(options["challenge"].as_str().unwrap());
        let data = json!({"type": kind, "challenge": challenge, "origin": self.origin, "crossOrigin": false});
        data.to_string().into_bytes()
    }

    fn authenticator_data(&self, asked: &str, flags: u8) -> Vec<u8> {
        let rp_id = self.rp_id.as_deref().unwrap_or(asked);
        let verified = if self.is_verified { VERIFIED } else { 0 };
        let mut data = digest(&SHA256, rp_id.as_bytes()).as_ref().to_vec();
        data.push(PRESENT | verified | flags);
        data.extend(self.counter.to_be_bytes());
        data
    }
}
