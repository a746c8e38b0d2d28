//! What people read of a running Serin.

use super::*;

#[test]
fn a_service_at_a_glance() {
    let service: Service = read(serde_json::json!({
        "name": "checkout",
        "stable": { "revision": "1f0c2aa000", "subject": "Version 1" },
        "live": {
            "id": "checkout-4f2c1a9-2", "revision": "4f2c1a9", "subject": "Add gift cards",
            "author": "Ada", "phase": "progressing", "step": 1, "steps": 7, "weight": 0.01,
            "logEvidence": -0.02, "logThreshold": 4.605, "pausedBy": "eve",
            "verdict": "errors: no data", "unobserved": null,
        },
        "waiting": "77b1c0d Mend it",
        "hold": null,
        "reason": null,
    }))
    .unwrap();
    insta::assert_snapshot!(shown(&service), @r#"
    checkout: 1f0c2aa Version 1
      checkout-4f2c1a9-2 "Add gift cards" by Ada: progressing step 1/7 at 1 %
      evidence against 4f2c1a9: 0.0 of 4.6 needed
      errors: no data
      paused by eve
      waiting: 77b1c0d Mend it
    "#);
}
