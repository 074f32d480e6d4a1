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
    cargo run -p sim -- run --seeds 110 --from "$(date +%s)000"
    cargo run -p sim -- meta --seeds 22 --from "$(date +%s)000"

# Fresh seeds for so long, in an optimized build that keeps all assertions.
soak MINUTES="60":
    cargo run --profile sim -p sim -- soak --minutes {{MINUTES}}

# Each bug that was put there on purpose, and which check finds it after how many seeds.
planted *ARGS:
    cargo run --profile sim -p sim -- planted {{ARGS}}

# Real processes under chaos; root, and a release build and the judge first.
lab *ARGS:
    cargo build --release -p node
    cargo build -p sim
    python3 deploy/lab {{ARGS}}

# A fleet on three orchestrators: `just load --enrolled 2000 --live 500`; some ten minutes and 3 GiB at its full size.
load *ARGS:
    cargo build --release -p node
    cargo run --release -p benches --bin load -- {{ARGS}}

# A cluster begins again from the backup of a large ledger: `just ledger --clients 100000 --snapshots 1000000`.
ledger *ARGS:
    cargo build --release -p node
    cargo run --release -p benches --bin ledger -- {{ARGS}}

bench:
    cargo bench -p benches

# Beside restic, rustic and borg, as far as they are installed: `just compare --seeds 1-3`.
compare *ARGS:
    cargo build --release -p node
    cargo run --release -p benches --bin compare -- {{ARGS}}

# Every decoder, for so many seconds each; needs a nightly toolchain and cargo-fuzz.
fuzz SECONDS="60":
    fuzz/run {{SECONDS}}
