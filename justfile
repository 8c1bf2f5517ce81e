# The commands of CONTRIBUTING.md, for https://just.systems: `just` lists them. Each is the plain
# command below its name; none of them needs just.

_list:
    @just --list --unsorted

# Builds all crates.
build:
    cargo build --workspace

# Runs all tests.
test:
    cargo test --workspace

# Tests the protocol alone: seconds, no sockets.
core:
    cargo test -p smokesignal-proto

# Formats, then lints as CI does.
lint:
    cargo fmt --all
    cargo clippy --workspace --all-targets -- -D warnings

# Checks the language of comments, docs and texts, and that citations lead somewhere.
prose *PATHS:
    .ci/prose {{PATHS}}

# Shows a network that loses nodes; exits with 0 only if nothing was missed.
demo:
    cargo run --release -- demo --headless

# Simulates N networks with random faults.
sim N="200":
    cargo run --release -- sim swarm --seeds {{N}}

# Builds and tests the npm package.
node:
    cd bindings/node && npm install && npm run build && npm test

# Counts the core's instructions and compares them with the noted ones.
instructions:
    .ci/instructions

# Runs the program against the second node, in Python.
conformance:
    conformance/run

# Runs all that has to pass before a change goes in.
ci:
    .ci/run
