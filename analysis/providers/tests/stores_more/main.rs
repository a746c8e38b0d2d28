//! `CloudWatch`, `InfluxDB`, Graphite and the HTTP store against servers on loopback: right, wrong, slow and endless.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

mod cloudwatch;
mod server;
mod stores;
