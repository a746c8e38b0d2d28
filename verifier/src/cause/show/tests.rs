//! What the terminal shows.

use super::*;
use crate::cause::samples::{large, n_plus_one, nasty, nothing, retries};

#[test]
fn a_cause_is_told_in_plain_text() {
    insta::assert_snapshot!(text(&n_plus_one(), 100, false), @r"
    checkout: +31.6 ms mean per request (95 % interval +28.3 ms to +34.9 ms), p95 +51.1 ms, p99
      +42.8 ms, in 400 canary and 1200 baseline traces
    1. N+1, confidence high: `SELECT prices`: 1.00 -> 12.7 calls by each caller, one after the other
       (N+1), +31.5 ms per request (100 % of the change); 78 % of the damage is where `cart.items >=
       15`; called from `CartRepo.load` at `checkout::cart::load` (src/cart/repo.rs:88); suspect commit
       2 of 4: 4f2c4f2 Load carts in another way (src/cart/repo.rs changed, 100 % of the evidence,
       confidence high)
    not explained: +96.2 us

    operation                          calls                each    change  by calls   by time       p
    checkout SELECT prices      1.00 -> 12.7  14.6 ms -> 3.62 ms  +31.5 ms   +107 ms  -75.4 ms  < 1e-9
    checkout render             1.00 -> 1.00  11.9 ms -> 12.2 ms   +341 us      0 ms   +341 us   0.428
    payments POST /charge       0.26 -> 0.25  18.0 ms -> 17.0 ms   -335 us  -73.8 us   -262 us   0.414
    checkout SELECT cart_items  0.19 -> 0.21  16.6 ms -> 16.9 ms   +290 us   +226 us  +63.7 us   0.717
    checkout pay                0.25 -> 0.25    639 us -> 200 us   -111 us      0 ms   -111 us   0.025
    checkout GET cart           1.00 -> 1.00  1.23 ms -> 1.17 ms  -64.7 us      0 ms  -64.7 us   0.109
    checkout GET /cart          0.44 -> 0.44  1.22 ms -> 1.12 ms  -40.4 us      0 ms  -40.4 us   0.157
    checkout CartRepo.load      1.00 -> 1.00  1.20 ms -> 1.23 ms  +33.1 us      0 ms  +33.1 us   0.484
    auth Auth/Check             1.00 -> 1.00  14.5 ms -> 14.5 ms  -27.7 us      0 ms  -27.7 us   0.965
    checkout GET /cart/{id}     0.31 -> 0.31  1.21 ms -> 1.26 ms  +14.7 us      0 ms  +14.7 us   0.665
    checkout POST /charge       0.26 -> 0.25  1.00 ms -> 1.00 ms  -4.21 us  -4.21 us      0 ms   0.025
    checkout POST /checkout     0.25 -> 0.25  1.23 ms -> 1.23 ms  +0.25 us      0 ms  +0.25 us   0.937
    all others                                                        0 ms
    request                                                       +31.6 ms

    what one request of each waited for, from 0 to 62.3 ms (# itself, - something below it)

    baseline of 1.0.0  50.6 ms  trace 00000000863ae030fce6fde700000486
      GET /cart/{id}                   #---------------------------------------           50.6 ms
       Auth/Check                      +----------------------                            27.9 ms
        Auth/Check                      #####################+                            27.1 ms
       CartRepo.load                                         +-------------               16.9 ms
        GET cart                                              #+                          1.79 ms
    >   SELECT prices                                          ############               14.6 ms
       render                                                              ####           4.83 ms

    canary of 1.1.0  62.3 ms  trace 00000000d0cd5acf0d76f2780000008d
      GET /cart/{id}                   #------------------------------------------------  62.3 ms
       Auth/Check                      +-----                                             6.73 ms
        Auth/Check                     +####+                                             5.93 ms
       CartRepo.load                        +-------------------------------------        47.3 ms
        GET cart                             +                                             608 us
    >   SELECT prices                        +####################################        45.9 ms x 10
       render                                                                     ######  7.64 ms

    look at
      the canary's trace in Jaeger
        https://jaeger.shop.example/trace/00000000d0cd5acf0d76f2780000008d
      both arms side by side in Grafana Explore
        https://grafana.shop.example/explore?schemaVersion=1&panes=%7B%22b%22%3A%7B%7D%2C%22c%22%3A%7B%7D%7D
    ");
}

#[test]
fn a_narrow_terminal_with_colours_shows_the_same() {
    let shown = text(&retries(), 80, true).replace('\u{1b}', "^");
    insta::assert_snapshot!(shown, @r"
    checkout: +2.15 ms mean per request (95 % interval -111 us to +4.41 ms), p95
      +10.3 ms, p99 +8.12 ms, in 400 canary and 1200 baseline traces
    ^[1m1. retries, confidence high^[0m: `POST /charge` is tried again 0.01 -> 0.09 times
       per request and fails more often, +2.05 ms per request (95 % of the change);
       called from `pay` at `checkout::pay::charge` (src/pay.rs:60); suspect commit
       2 of 4: 4f2c4f2 Load carts in another way (src/pay.rs changed, 100 % of the
       evidence, confidence high)
    not explained: +98.2 us

    operation                calls                each    change  by calls   by time      p
    pay               0.25 -> 0.25   712 us -> 8.51 ms  +1.97 ms      0 ms  +1.97 ms   2e-6
    payments POST...  0.26 -> 0.34  17.4 ms -> 16.6 ms  +1.21 ms  +1.44 ms   -234 us  0.054
    SELECT cart_i...  0.21 -> 0.18  18.7 ms -> 15.4 ms  -1.01 ms   -345 us   -660 us  0.031
    auth Auth/Check   1.00 -> 1.00  14.3 ms -> 14.0 ms   -249 us      0 ms   -249 us  0.711
    SELECT prices     1.00 -> 1.00  14.2 ms -> 14.3 ms   +152 us      0 ms   +152 us  0.817
    POST /charge      0.26 -> 0.34  1.00 ms -> 1.00 ms  +84.9 us  +84.9 us      0 ms   3e-7
    CartRepo.load     1.00 -> 1.00  1.17 ms -> 1.24 ms  +63.7 us      0 ms  +63.7 us  0.201
    GET cart          1.00 -> 1.00  1.20 ms -> 1.15 ms  -47.3 us      0 ms  -47.3 us  0.250
    GET /cart/{id}    0.30 -> 0.30  1.23 ms -> 1.10 ms  -40.9 us      0 ms  -40.9 us  0.064
    GET /cart         0.44 -> 0.44  1.17 ms -> 1.19 ms  +7.42 us      0 ms  +7.42 us  0.814
    render            1.00 -> 1.00  12.2 ms -> 12.3 ms  +4.99 us      0 ms  +4.99 us  0.885
    POST /checkout    0.25 -> 0.25  1.17 ms -> 1.19 ms  +3.23 us      0 ms  +3.23 us  0.900
    all others                                              0 ms
    request                                             +2.15 ms

    what one request of each waited for, from 0 to 88.8 ms (█ itself, ─ something below it)

    ^[1mbaseline^[0m of 1.0.0  68.0 ms  trace 00000000898efa5e0a907dd000000001
      POST /checkout             ───────────────────────────          68.0 ms
       Auth/Check                ───▌                                 7.51 ms
        Auth/Check               ▌██▌                                 6.71 ms
       CartRepo.load                ────                              8.12 ms
        GET cart                    ▌                                  729 us
        SELECT prices               ▌███                              7.16 ms
       render                          ▌████████                      21.1 ms
       pay                                     ▌────────────          30.2 ms
    > ^[1;31m  POST /charge                            ────────────        ^[0m  30.0 ms
         POST /charge                           ████████████          29.0 ms

    ^[1mcanary^[0m of 1.1.0  88.8 ms  trace 000000008b8bfd409199e30c00000007
      POST /checkout             ───────────────────────────────────  88.8 ms
       Auth/Check                ───────                              16.1 ms
        Auth/Check               ▌██████                              15.3 ms
       CartRepo.load                   ▌─────────────────────         53.7 ms
        GET cart                        █                             1.81 ms
        SELECT cart_items               ▌████▌                        11.6 ms
        SELECT prices                        ████████████████         39.4 ms
       render                                               ▌██▌      6.42 ms
       pay                                                     ─────  11.6 ms
    > ^[1;31m  POST /charge                                           ─────^[0m  11.4 ms
         POST /charge                                          ▌████  10.4 ms

    look at
      the canary's trace in Jaeger
        https://jaeger.shop.example/trace/000000008b8bfd409199e30c00000007
      both arms side by side in Grafana Explore
        https://grafana.shop.example/explore?schemaVersion=1&panes=%7B%22b%22%3A%7B%7D%2C%22c%22%3A%7B%7D%7D
    ");
}

#[test]
fn nothing_is_said_to_be_nothing() {
    let shown = text(&nothing(), 80, false);
    assert!(shown.contains("\nnothing differs by more than chance\n"), "{shown}");
    assert!(!shown.contains("waited for"), "{shown}");
}

#[test]
fn no_name_reaches_the_terminal_as_a_command() {
    let shown = text(&nasty(), 100, false);
    assert!(!shown.contains(|c: char| c != '\n' && c.is_control()), "{shown:?}");
    assert!(!shown.contains('\u{202e}'), "{shown:?}");
    assert!(!shown.lines().any(|line| line.starts_with("Signed-off-by")), "{shown}");
}

#[test]
fn large_traces_stay_readable() {
    for deep in [true, false] {
        for width in [0, 60, 100, 5_000] {
            let shown = text(&large(deep), width, true);
            assert!(shown.lines().count() < 100, "{shown}");
            assert!(shown.contains(" more, "), "what is not shown is told: {shown}");
        }
    }
}

#[test]
fn a_bar_has_its_width() {
    for cause in [n_plus_one(), large(true)] {
        let example = cause.canary.unwrap();
        for block in blocks(&example) {
            let bar = bar(&block, example.seconds, 57, &ASCII);
            assert_eq!(bar.len(), 57);
        }
    }
}
