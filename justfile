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
