# `just check` is what CI runs; see .ci/run for a machine without `just`.

default: check

check: format lint test audit simulate

format:
    cargo fmt --all --check

lint:
    cargo clippy --workspace --all-targets -- -D warnings

test:
    cargo test --workspace

audit:
    cargo deny --offline check licenses bans sources

simulate:
    cargo run -p sim -- meta --seeds 5
    cargo run -p sim -- run --seeds 20

bench:
    cargo bench -p benches

# Beside restic, rustic and borg, as far as they are installed: `just compare --seeds 1-3`.
compare *ARGS:
    cargo build --release -p node
    cargo run --release -p benches --bin compare -- {{ARGS}}

# Every decoder, for so many seconds each; needs a nightly toolchain and cargo-fuzz.
fuzz SECONDS="60":
    fuzz/run {{SECONDS}}
