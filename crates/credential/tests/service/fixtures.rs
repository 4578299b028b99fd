//! Writes `fuzz/fixtures`.

use std::path::Path;

use credential::Clock;
use jose::base64url;
use mdoc::DOC_TYPE;
use mdoc::present::{DeviceKey, Presented, present};
use mdoc::transcript::{Handover, SessionTranscript};
use openid4vc::MSO_MDOC;

use crate::world::Place;

/// `cargo test -p credential --test service -- --ignored` writes `fuzz/fixtures` again: certificates, a credential and a presentation,
/// all of them public. The keys are thrown away. The transcript is that of `fuzz/src/credential.rs`.
#[test]
#[ignore = "writes files of the repository: after a change of the credential's format"]
fn the_fuzz_fixtures() {
    let place = Place::new();
    let held = place.device("Adaline").held(MSO_MDOC);
    let transcript = SessionTranscript::new(&Handover::OpenId4Vp {
        client_id: "x509_san_dns:clinic.example",
        nonce: "n-0S6_WzA2Mj",
        jwk_thumbprint: None,
        response_uri: "https://clinic.example/response",
    });
    let issuer_signed = base64url::decode(&held.credential).unwrap();
    let elements = [(DOC_TYPE, "given_name"), (DOC_TYPE, "age_over_60")];
    let presented =
        Presented { issuer_signed: &issuer_signed, elements: &elements, device: DeviceKey::Signature(&held.key) };
    let response = present(&[presented], &transcript).unwrap();
    let root = place.credentials.issuer_root();
    let documents = mdoc::verify::verify(&response, &transcript, &[root], place.world.now(), None).unwrap();
    assert_eq!(documents[0].answers(DOC_TYPE, &elements), Ok(()));
    let signer = std::fs::read(place.folder.path().join("keys/document-signer.1.cert.der")).unwrap();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/fixtures");
    for (name, bytes) in
        [("root.der", root), ("signer.der", &signer), ("credential.cbor", &issuer_signed), ("response.cbor", &response)]
    {
        std::fs::write(folder.join(name), bytes).unwrap();
    }
}
